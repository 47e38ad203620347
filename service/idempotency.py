"""Idempotency-Key: the answer to a POST, stored in the transaction that made what it tells of.

Because both are committed together there is no state in between: whoever asks at the same time waits for that
transaction (a few milliseconds) and then finds the answer, and a crash leaves neither.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy import ColumnElement, delete, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.responses import Response

from core.clock import database_now
from core.tables import IdempotentAnswer
from service.deps import CallerDep
from service.errors import IdempotencyInFlight, IdempotencyKeyReused, InvalidRequest
from service.problems import Fault

KEPT_SECONDS = 24 * 3600
WAIT_SECONDS = 5
KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Once:
    """One POST under its key; without a key every method lets it pass."""

    owner: str
    key: str | None
    fingerprint: str

    def of_upload(self, *parts: str) -> "Once":
        """The same POST, known by its parsed content: a multipart body differs with each boundary."""
        return Once(self.owner, self.key, _digest([self.fingerprint, *parts]))

    def earlier_answer(self, session: Session) -> Response | None:
        """The stored answer, or None: then the key is ours until the session's transaction ends.

        Raises IdempotencyKeyReused, and IdempotencyInFlight where another holds the key for too long.
        """
        if self.key is None:
            return None
        self._forget_expired(session)
        if self._take(session):
            return None
        row = session.get_one(IdempotentAnswer, (self.owner, self.key))
        if row.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused(f"Idempotency-Key '{self.key}' came with another request before")
        if row.status is None:
            raise IdempotencyInFlight(f"the request with Idempotency-Key '{self.key}' is not answered yet")
        return Response(row.body, row.status, {**row.headers, "Idempotency-Replayed": "true"}, "application/json")

    def keep(self, session: Session, status: int, body: str, headers: Mapping[str, str]) -> Response:
        """Store the answer with what it tells of, and return it. The caller commits."""
        if self.key is not None:
            kept = {"status": status, "body": body, "headers": dict(headers)}
            session.execute(update(IdempotentAnswer).where(*self._row).values(**kept))
        return Response(body, status, dict(headers), "application/json")

    @property
    def _row(self) -> tuple[ColumnElement[bool], ...]:
        return IdempotentAnswer.owner == self.owner, IdempotentAnswer.key == self.key

    def _forget_expired(self, session: Session) -> None:
        old = IdempotentAnswer.created_at < database_now(-KEPT_SECONDS)
        session.execute(delete(IdempotentAnswer).where(*self._row, old))

    def _take(self, session: Session) -> bool:
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        dialect = sqlite if is_sqlite else postgresql
        if not is_sqlite:
            session.execute(text(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'"))
        row: dict[str, object] = {"owner": self.owner, "key": self.key, "fingerprint": self.fingerprint, "headers": {}}
        take = dialect.insert(IdempotentAnswer).values(**row, created_at=database_now()).on_conflict_do_nothing()
        try:
            return session.scalars(take.returning(IdempotentAnswer.key)).one_or_none() is not None
        except OperationalError as error:
            if "lock timeout" in str(error):
                raise IdempotencyInFlight("the first request with this Idempotency-Key is not answered yet") from error
            raise


async def _once(
    request: Request,
    caller: CallerDep,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", description="The same key and body replay the stored answer, for 24 hours."),
    ] = None,
) -> Once:
    if key is not None and not KEY.fullmatch(key):
        detail = "an Idempotency-Key is 1 to 255 visible ASCII characters"
        raise InvalidRequest([Fault(pointer="/header/Idempotency-Key", detail=detail, code="invalid_value")])
    is_json = request.headers.get("content-type", "").startswith("application/json")
    body = await request.json() if key is not None and is_json else None
    return Once(caller.owner, key, _digest([request.url.path, request.url.query, body]))


OnceDep = Annotated[Once, Depends(_once)]


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
