"""`/v1/sweeps`: one spec, a grid of values, a job for each combination, one table."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response, status

from core import remains
from core.models import folders_of_jobs
from core.sweeps import Sweeps
from core.tables import Sweep
from service.deps import BlobsDep, CallerDep, QueueDep, ServiceDep, SettingsDep, SweepsRead, SweepsWritten, WriteDep
from service.idempotency import OnceDep
from service.jobs.outbox import publish
from service.openapi import problems
from service.pages import CursorDep, PageOut, known_cursor, page_out
from service.strict import StrictRoute
from service.sweeps.examples import SWEEP_EXAMPLES
from service.sweeps.grid import SweepSpec
from service.sweeps.planning import Planner
from service.sweeps.schemas import SweepDryRunOut, SweepOut, SweepTableOut, dry_run_out, sweep_out
from service.sweeps.table import table_of

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], route_class=StrictRoute, responses=problems())


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=SweepTableOut,
    responses={
        200: {"model": SweepDryRunOut, "description": "The answer to a dry run."},
        202: {"headers": {"Location": {"schema": {"type": "string"}}}},
        **problems(409, 415),
    },
)
def create_sweep(
    spec: Annotated[SweepSpec, Body(openapi_examples=SWEEP_EXAMPLES)],
    sweeps: SweepsWritten,
    session: WriteDep,
    caller: CallerDep,
    settings: SettingsDep,
    queue: QueueDep,
    blobs: BlobsDep,
    once: OnceDep,
    dry_run: Annotated[bool, Query(description="Check and estimate; store nothing.")] = False,
) -> Response:
    """Accept a sweep: a job for each combination of the grid's values, all of them or none.

    The jobs are plain jobs, run in the order of the grid. On one machine their teacher reads the texts once.
    """
    replayed = None if dry_run else once.earlier_answer(session)
    if replayed is not None:
        return replayed
    plan = Planner(session, caller.owner, blobs, settings).plan(spec)
    if dry_run:
        return Response(dry_run_out(plan).model_dump_json(), status.HTTP_200_OK, media_type="application/json")
    row = sweeps.add(spec.name, spec.base, spec.grid, plan.notes, plan.points)
    out = _table(sweeps, row)
    kept = once.keep(session, status.HTTP_202_ACCEPTED, out.model_dump_json(), {"Location": out.links.self})
    session.commit()  # the rows first: a worker must never hear of a job it cannot read
    publish(queue, session, [job for _, job in sweeps.points(row.id) if job is not None])
    return kept


@router.get("", response_model=PageOut[SweepOut])
def list_sweeps(sweeps: SweepsRead, cursor: CursorDep) -> PageOut[SweepOut]:
    """Your sweeps, the newest first, without their tables."""
    cursor = known_cursor(cursor, sweeps.get)
    page = sweeps.page(cursor)
    ids = [row.id for row in page.rows]
    looks = sweeps.looks(ids)
    return page_out([sweep_out(row, looks[row.id]) for row in page.rows], ids, page.has_more)


@router.get("/{sweep_id}", response_model=SweepTableOut, responses=problems(404))
def get_sweep(sweep_id: str, sweeps: SweepsRead) -> SweepTableOut:
    """One sweep with its table, the Pareto front of its finished points, and the best of them."""
    return _table(sweeps, sweeps.get(sweep_id))


@router.post("/{sweep_id}/cancel", status_code=202, response_model=SweepTableOut, responses=problems(404, 409))
def cancel_sweep(sweep_id: str, sweeps: SweepsWritten, session: WriteDep) -> SweepTableOut:
    """Stop every job of a sweep that is not finished. What is finished stays. Repeating is harmless."""
    sweeps.cancel(sweep_id)
    session.commit()
    return _table(sweeps, sweeps.get(sweep_id))


@router.delete("/{sweep_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409))
def delete_sweep(sweep_id: str, sweeps: SweepsWritten, session: WriteDep, service: ServiceDep) -> None:
    """Forget a finished sweep with its jobs and their files. The models that they made stay."""
    folders = folders_of_jobs(session, sweeps.delete(sweep_id))
    remains.leave(session, folders)
    session.commit()
    remains.clear(service.database, service.blobs, folders)


def _table(sweeps: Sweeps, row: Sweep) -> SweepTableOut:
    return table_of(row, sweeps.points(row.id))
