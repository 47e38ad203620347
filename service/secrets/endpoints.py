"""`/v1/secrets`: values that jobs use by name, such as a vendor's API key. They come in and never go out."""

from dataclasses import replace

from fastapi import APIRouter, status
from starlette.responses import Response

from core.sealing import seal_of
from service.deps import SecretsRead, SecretsWritten, SettingsDep, WriteDep
from service.idempotency import OnceDep
from service.openapi import problems
from service.pages import CursorDep, PageOut, known_cursor, page_out
from service.secrets.schemas import SecretOut, SecretSpec, secret_out
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/secrets", tags=["secrets"], route_class=StrictRoute, responses=problems())


@router.post("", status_code=status.HTTP_201_CREATED, response_model=SecretOut, responses=problems(409, 415))
def create_secret(
    spec: SecretSpec, secrets: SecretsWritten, session: WriteDep, settings: SettingsDep, once: OnceDep
) -> Response:
    """Store a value under a name. No answer ever holds the value again."""
    seal = seal_of(settings, makes_key=True)
    # A bare digest of the body would let whoever reads the database try values against it.
    once = replace(once, fingerprint=seal.digest(once.fingerprint))
    replayed = once.earlier_answer(session)
    if replayed is not None:
        return replayed
    row = secrets.add(seal, spec.name, spec.value.get_secret_value(), replace=spec.replace)
    kept = once.keep(session, status.HTTP_201_CREATED, secret_out(row).model_dump_json(), {})
    session.commit()
    return kept


@router.get("", response_model=PageOut[SecretOut])
def list_secrets(secrets: SecretsRead, cursor: CursorDep) -> PageOut[SecretOut]:
    """Your secrets' names, the newest first."""
    cursor = known_cursor(cursor, secrets.get)
    page = secrets.page(cursor)
    return page_out([secret_out(row) for row in page.rows], [row.id for row in page.rows], page.has_more)


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404))
def delete_secret(name: str, secrets: SecretsWritten, session: WriteDep) -> None:
    """Forget a secret at once. A running job that uses it has it already; one that waits will fail in words."""
    secrets.delete(name)
    session.commit()
