"""`/v1/api-keys`, for the scope admin."""

from fastapi import APIRouter, status
from sqlalchemy.orm import Session
from starlette.responses import Response

from core import api_keys
from core.api_keys import keys_page, revoke
from core.errors import ApiKeyNotFound
from core.tables import ApiKey
from service.api_keys.schemas import ApiKeyOut, ApiKeySpec, IssuedKeyOut, api_key_out
from service.deps import CallerDep, ReadDep, WriteDep
from service.idempotency import OnceDep
from service.openapi import problems
from service.pages import CursorDep, PageOut, known_cursor, page_out
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/api-keys", tags=["api-keys"], route_class=StrictRoute, responses=problems())


@router.post("", status_code=status.HTTP_201_CREATED, response_model=IssuedKeyOut, responses=problems(409, 415))
def create_api_key(spec: ApiKeySpec, session: WriteDep, caller: CallerDep, once: OnceDep) -> Response:
    """Make a key. Its secret is in this answer and nowhere else; from the first key on every request needs one."""
    replayed = once.earlier_answer(session)
    if replayed is not None:
        return replayed
    issued = api_keys.issue(session, spec.owner or caller.owner, spec.name, spec.scopes, spec.expires_at)
    out = IssuedKeyOut(**api_key_out(issued.row).model_dump(), secret=None)
    # Stored without the secret: a database must not hold what opens it.
    kept = once.keep(session, status.HTTP_201_CREATED, out.model_dump_json(), {})
    session.commit()
    kept.body = kept.render(out.model_copy(update={"secret": issued.secret}).model_dump_json())
    kept.headers["content-length"] = str(len(kept.body))
    return kept


@router.get("", response_model=PageOut[ApiKeyOut])
def list_api_keys(session: ReadDep, cursor: CursorDep) -> PageOut[ApiKeyOut]:
    """All keys, the newest first, without their secrets."""
    cursor = known_cursor(cursor, lambda after: _get(session, after))
    page = keys_page(session, None, cursor)
    return page_out([api_key_out(row) for row in page.rows], [row.id for row in page.rows], page.has_more)


@router.delete("/{key_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404))
def revoke_api_key(key_id: str, session: WriteDep) -> None:
    """Revoke a key at once. Repeating is harmless."""
    revoke(session, key_id)
    session.commit()


def _get(session: Session, key_id: str) -> ApiKey:
    row = session.get(ApiKey, key_id)
    if row is None:
        raise ApiKeyNotFound(key_id)
    return row
