"""One error body for everything that can go wrong: RFC 9457, with what OpenAI's SDKs read beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Scope

from core.errors import DistillError

PROBLEM_MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 2000


class Fault(BaseModel):
    """One thing that is wrong with a request. `line` and `column` count from 1, in an uploaded file."""

    model_config = ConfigDict(frozen=True)

    pointer: str = Field(description="JSON pointer into the body, or /query/…, /path/…, /header/….")
    detail: str
    code: str
    hint: str | None = None
    line: int | None = None
    column: int | str | None = None


class OpenAIError(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class Problem(BaseModel):
    """What every failed request answers."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    hint: str | None = None
    errors: list[Fault]
    error: OpenAIError


class ProblemResponse(Response):
    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str]) -> None:
        self.problem = problem
        super().__init__(problem.model_dump_json(), problem.status, {"x-request-id": problem.request_id, **headers})


def request_id_of(scope: Scope) -> str:
    return str(scope.get("distill.request_id", "req_unknown"))


def make_problem(
    scope: Scope, *, status: int, code: str, title: str, detail: str, hint: str | None, faults: Sequence[Fault] = ()
) -> Problem:
    detail = printable(detail)
    return Problem(
        type=f"/docs/problems#{code}",
        title=title,
        status=status,
        detail=detail,
        instance=printable(scope["path"]),
        code=code,
        request_id=request_id_of(scope),
        hint=hint,
        errors=list(faults),
        error=OpenAIError(message=detail, type=_openai_type(status), param=_param(faults), code=code),
    )


def openai_error(error: DistillError) -> OpenAIError:
    """What OpenAI's SDKs read of an error that comes when an answer is under way."""
    return OpenAIError(message=printable(str(error)), type=_openai_type(error.status), param=None, code=error.code)


def printable(text: str) -> str:
    """Text that is valid UTF-8 and of a bounded length, whatever a client sent."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_DETAIL else text[:MAX_DETAIL] + "…"


def pointer_of(parts: Sequence[Any]) -> str:
    return "".join("/" + printable(str(part)).replace("~", "~0").replace("/", "~1") for part in parts)


def _openai_type(status: int) -> str:
    types = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return types.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _param(faults: Sequence[Fault]) -> str | None:
    return faults[0].pointer.removeprefix("/").replace("/", ".") or None if faults else None
