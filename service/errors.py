"""What a request can meet beyond core's errors, and how any exception becomes a problem."""

import errno
from collections.abc import Sequence

import structlog
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from core.errors import Conflict, DiskFull, DistillError, NotFound, ResultNotReady
from service.problems import Fault, ProblemResponse, make_problem, request_id_of
from service.validation import faults_of

log = structlog.get_logger()
RETRY_SECONDS = 5


class RouteNotFound(NotFound):
    code, title = "route_not_found", "No such route"
    hint = "GET /docs shows every route."


class MethodNotAllowed(DistillError):
    code, title, status = "method_not_allowed", "Method not allowed", 405
    hint = "The Allow header lists what this path answers to."


class BrokenRequest(DistillError):
    """The request cannot be read at all."""

    code, title, status = "broken_request", "Request cannot be read", 400
    hint = "Check the request's syntax."


class BrokenJson(BrokenRequest):
    code, title = "broken_json", "Body is not JSON"
    hint = "Send one JSON document in UTF-8, each key once, numbers finite."


class UnknownCursor(BrokenRequest):
    code, title = "unknown_cursor", "Unknown cursor"
    hint = "`after` is the last_id of an earlier page."

    def __str__(self) -> str:
        return f"there is nothing called '{self.args[0]}' to continue after"


class Unauthorized(DistillError):
    code, title, status = "unauthorized", "Not authenticated", 401
    hint = "Send Authorization: Bearer dk_…; `python -m service.keys create --owner NAME` makes the first key."


class Forbidden(DistillError):
    code, title, status = "forbidden", "Not allowed", 403
    hint = "Use a key with the scope that is named."


class WrongHost(DistillError):
    code, title, status = "wrong_host", "Wrong host", 421
    hint = "Without API keys this service answers on loopback names only: http://127.0.0.1 or http://localhost."


class RequestTooSlow(DistillError):
    code, title, status = "request_too_slow", "Body came too slowly", 408
    hint = "Send the body without long pauses."


class BodyTooLarge(DistillError):
    code, title, status = "body_too_large", "Body too large", 413
    hint = "The operator sets DISTILL_MAX_JSON_BYTES, DISTILL_MAX_DATASET_BYTES and DISTILL_MAX_MODEL_BYTES."


class UnsupportedMediaType(DistillError):
    code, title, status = "unsupported_media_type", "Unsupported media type", 415
    hint = "JSON bodies are application/json, uploads multipart/form-data."


class RangeNotSatisfiable(DistillError):
    code, title, status = "range_not_satisfiable", "Range outside the file", 416
    hint = "Content-Range says how long the file is."


class IdempotencyKeyReused(DistillError):
    code, title, status = "idempotency_key_reused", "Idempotency key reused", 422
    hint = "Use another Idempotency-Key for another request."


class IdempotencyInFlight(Conflict):
    code, title = "idempotency_in_flight", "Same request in flight"
    hint = "Ask again after Retry-After seconds."


class DatabaseUnavailable(DistillError):
    code, title, status = "database_unavailable", "Database not reached", 503
    hint = "Ask again after Retry-After seconds."


class InvalidRequest(DistillError):
    """Faults, all at once, each with a pointer."""

    code, title, status = "invalid_request", "Invalid request", 422
    hint = "`errors` lists every fault."

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        more = len(self.faults) - 1
        return self.faults[0].detail + (f" (and {more} more fault{'s' if more > 1 else ''})" if more else "")


class InvalidUpload(InvalidRequest):
    """An uploaded file that cannot be taken."""

    code, title = "upload_refused", "Upload refused"


def answer_to(error: Exception, scope: Scope) -> ProblemResponse:
    """The problem that says what `error` means to a client. What we did not foresee is logged and answers 500."""
    if isinstance(error, RequestValidationError):
        return _answer(InvalidRequest(faults_of(error)), scope)
    if _is_disk_full(error):
        log.error("no space left in the work folder", request_id=request_id_of(scope))
        return _answer(DiskFull("no space left in the service's work folder"), scope)
    if isinstance(error, ClientDisconnect):
        return _answer(BrokenRequest("the client went away before its body was whole"), scope)
    if isinstance(error, HTTPException):
        return _answer(_of_starlette(error), scope, dict(error.headers or {}))
    if isinstance(error, (OperationalError, InterfaceError, PoolTimeout)):
        log.warning("database unavailable", reason=str(error).splitlines()[0], request_id=request_id_of(scope))
        return _answer(DatabaseUnavailable("the database does not answer at the moment"), scope)
    if isinstance(error, DistillError):
        if error.status >= 500:
            log.error("request failed", code=error.code, detail=str(error), request_id=request_id_of(scope))
        return _answer(error, scope)
    log.error("unforeseen error", request_id=request_id_of(scope), exc_info=error)
    return _answer(DistillError("something went wrong here; it is in the service's log"), scope)


def _is_disk_full(error: Exception) -> bool:
    # What goes wrong while FastAPI reads a body is a 400 of its own, with the reason behind it.
    reason = error.__cause__ if isinstance(error, HTTPException) else error
    return isinstance(reason, OSError) and reason.errno in (errno.ENOSPC, errno.EDQUOT)


def _of_starlette(error: HTTPException) -> DistillError:
    kinds: dict[int, type[DistillError]] = {
        400: BrokenRequest,
        404: RouteNotFound,
        405: MethodNotAllowed,
        408: RequestTooSlow,
        413: BodyTooLarge,
        415: UnsupportedMediaType,
    }
    return kinds.get(error.status_code, DistillError)(error.detail)


def _answer(error: DistillError, scope: Scope, headers: dict[str, str] | None = None) -> ProblemResponse:
    faults = error.faults if isinstance(error, InvalidRequest) else ()
    problem = make_problem(
        scope,
        status=error.status,
        code=faults[0].code if faults else error.code,
        title=faults[0].code.replace("_", " ").capitalize() if faults else error.title,
        detail=str(error),
        hint=(faults[0].hint if faults else None) or error.hint,
        faults=faults,
    )
    return ProblemResponse(problem, {**_headers_for(error), **(headers or {})})


def _headers_for(error: DistillError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"www-authenticate": "Bearer"}
    if isinstance(error, (IdempotencyInFlight, ResultNotReady)):
        return {"retry-after": "2"}
    if isinstance(error, Conflict):
        return {"x-should-retry": "false"}
    if error.status in (429, 503):
        return {"retry-after": str(RETRY_SECONDS)}
    if error.status in (408, 413):
        return {"connection": "close"}
    return {}
