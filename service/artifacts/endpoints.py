"""What a job left to download: artifacts, checkpoints, the student as one zip."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from core.artifacts import artifact, artifacts_of, checkpoint, checkpoint_page
from core.blobs import Stored
from core.errors import ModelNotFound
from core.models import Models
from service.deps import BlobsDep, CallerDep, JobsRead, ReadDep
from service.downloads import FILE, ZIP, AnyResponse, ZipResponse, file_answer, zip_answer
from service.errors import UnknownCursor
from service.jobs.schemas import ArtifactOut, CheckpointOut, artifact_out, checkpoint_out
from service.openapi import problems
from service.pages import AscendingDep, CursorDep, PageOut, known_cursor, page_out
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"], route_class=StrictRoute, responses=problems(404))


@router.get("/{job_id}/artifacts", response_model=PageOut[ArtifactOut])
def list_artifacts(job_id: str, jobs: JobsRead, session: ReadDep, cursor: AscendingDep) -> PageOut[ArtifactOut]:
    """What a finished job left, by path; `after` is a path."""
    jobs.get(job_id)
    rows = list(artifacts_of(session, job_id))
    if cursor.order == "desc":
        rows.reverse()
    if cursor.after is not None:
        paths = [row.path for row in rows]
        if cursor.after not in paths:
            raise UnknownCursor(cursor.after)
        rows = rows[paths.index(cursor.after) + 1 :]
    shown = rows[: cursor.limit]
    return page_out([artifact_out(row) for row in shown], [row.path for row in shown], len(rows) > cursor.limit)


@router.get("/{job_id}/artifacts/{path:path}", response_class=AnyResponse, responses=FILE)
@router.head(
    "/{job_id}/artifacts/{path:path}", response_class=AnyResponse, responses=FILE, operation_id="head_artifact"
)
def get_artifact(
    job_id: str, path: str, request: Request, jobs: JobsRead, session: ReadDep, blobs: BlobsDep
) -> Response:
    """One file. Its ETag is its SHA-256; ranges resume a download."""
    jobs.get(job_id)
    found = artifact(session, job_id, path)
    stored = Stored(found.blob_key, found.bytes, found.sha256)
    return file_answer(request, blobs, stored, found.media_type, path.rsplit("/", 1)[-1])


@router.get("/{job_id}/student.zip", response_class=ZipResponse, responses=ZIP)
@router.head("/{job_id}/student.zip", response_class=ZipResponse, responses=ZIP, operation_id="head_student")
def get_student(
    job_id: str, request: Request, jobs: JobsRead, session: ReadDep, caller: CallerDep, blobs: BlobsDep
) -> Response:
    """The whole student, as transformers loads it, in one zip."""
    job = jobs.get(job_id)
    model = Models(session, caller.owner).find(job_id)
    if model is None:
        raise ModelNotFound(job_id)
    files = [(file["path"], Stored(file["blob_key"], file["bytes"], file["sha256"])) for file in model.files]
    return zip_answer(request, blobs, files, f"{job.name or job.id}.zip")


@router.get("/{job_id}/checkpoints", response_model=PageOut[CheckpointOut])
def list_checkpoints(job_id: str, jobs: JobsRead, session: ReadDep, cursor: CursorDep) -> PageOut[CheckpointOut]:
    """What a job could continue from, the newest first."""
    jobs.get(job_id)
    cursor = known_cursor(cursor, lambda after: checkpoint(session, job_id, after))
    page = checkpoint_page(session, job_id, cursor)
    return page_out([checkpoint_out(row) for row in page.rows], [row.id for row in page.rows], page.has_more)


@router.get("/{job_id}/checkpoints/{checkpoint_id}/checkpoint.zip", response_class=ZipResponse, responses=ZIP)
@router.head(
    "/{job_id}/checkpoints/{checkpoint_id}/checkpoint.zip",
    response_class=ZipResponse,
    responses=ZIP,
    operation_id="head_checkpoint",
)
def get_checkpoint(
    job_id: str, checkpoint_id: str, request: Request, jobs: JobsRead, session: ReadDep, blobs: BlobsDep
) -> Response:
    """One checkpoint in one zip."""
    jobs.get(job_id)
    found = checkpoint(session, job_id, checkpoint_id)
    folder = f"jobs/{job_id}/checkpoints/{checkpoint_id}"
    files = [(file["path"], Stored(f"{folder}/{file['path']}", file["bytes"], file["sha256"])) for file in found.files]
    return zip_answer(request, blobs, files, f"{checkpoint_id}.zip")
