"""Outside /v1: is the process alive, could it work, what does it count."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text
from starlette.responses import JSONResponse, Response

from service.deps import ReadDep, Service, ServiceDep
from service.openapi import problem_answer
from service.openapi import text as text_answer

router = APIRouter(tags=["system"])

ANSWER_SECONDS = 2.0


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Each part: `ok`, or why it is not."""

    database: str
    broker: str
    storage: str


@router.get("/healthz")
def get_health() -> Health:
    """The process lives."""
    return Health()


@router.get(
    "/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "A part is away."}}
)
def get_readiness(service: ServiceDep) -> Response:
    """Whether database, broker and storage answer within two seconds."""
    parts: dict[str, Callable[[], object]] = {
        "database": lambda: _ask_database(service),
        "broker": service.queue.ping,
        "storage": service.blobs.check,
    }
    # Not a with block: that would wait for a part that hangs.
    pool = ThreadPoolExecutor(len(parts))
    asked = {name: pool.submit(ask) for name, ask in parts.items()}
    found = {}
    for name, answer in asked.items():
        try:
            answer.result(ANSWER_SECONDS)
            found[name] = "ok"
        except Late:
            found[name] = f"no answer within {ANSWER_SECONDS:g} seconds"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            found[name] = type(error).__name__
    pool.shutdown(wait=False)
    is_ready = all(state == "ok" for state in found.values())
    return JSONResponse(found, 200 if is_ready else 503)


@router.get(
    "/metrics", responses={200: text_answer("text/plain", "Prometheus' text format."), 503: problem_answer(503)}
)
def get_prometheus(service: ServiceDep, session: ReadDep) -> Response:
    """Requests, latencies and jobs by status, for Prometheus."""
    return Response(service.measures.scrape(session), media_type="text/plain; version=0.0.4; charset=utf-8")


def _ask_database(service: Service) -> None:
    with service.database.read() as session:
        session.execute(text("SELECT 1"))
