"""API keys: shown once, kept as a digest, bound to an owner."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import ApiKeyNotFound
from core.ids import make_id
from core.pages import Cursor, Page, page_of
from core.tables import ApiKey

Scope = Literal["read", "write", "admin"]
ALL_SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
KEY_PREFIX = "dk_"


@dataclass(frozen=True)
class IssuedKey:
    """A key with its secret, which nobody can read again."""

    row: ApiKey
    secret: str


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def issue(
    session: Session,
    owner: str,
    name: str,
    scopes: Sequence[Scope] = ALL_SCOPES,
    expires_at: datetime | None = None,
    secret: str | None = None,
) -> IssuedKey:
    secret = secret or KEY_PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=make_id("key"),
        owner=owner,
        name=name,
        digest=digest_of(secret),
        hint=secret[:7],
        scopes=list(scopes),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return IssuedKey(row, secret)


def recognise(session: Session, secret: str) -> ApiKey | None:
    """The key with this secret, if it is neither revoked nor expired by the database's clock."""
    in_time = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > database_now())
    query = select(ApiKey).where(ApiKey.digest == digest_of(secret), ApiKey.revoked_at.is_(None), in_time)
    return session.scalars(query).one_or_none()


def any_key(session: Session) -> bool:
    """Whether any key was ever issued: from then on authentication is on."""
    return bool(session.scalar(select(exists().select_from(ApiKey))))


def keys_page(session: Session, owner: str | None, cursor: Cursor) -> Page[ApiKey]:
    """One owner's keys, or everybody's for None."""
    query = select(ApiKey)
    if owner is not None:
        query = query.where(ApiKey.owner == owner)
    return page_of(session, query, ApiKey, cursor)


def revoke(session: Session, key_id: str) -> None:
    """Revoke a key. Repeating is harmless; raises ApiKeyNotFound."""
    gone = update(ApiKey).where(ApiKey.id == key_id).values(revoked_at=database_now())
    if session.scalars(gone.returning(ApiKey.id)).one_or_none() is None:
        raise ApiKeyNotFound(key_id)
