"""`/v1/models`: upload, look, download, delete."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, status
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from starlette.responses import Response

from core import remains
from core.blobs import Blobs, Stored
from core.errors import ModelFileNotFound, ModelNameTaken
from core.ids import make_id
from core.models import Models
from core.tables import Artifact, Model
from service.deps import UPLOAD_TURN, BlobsDep, CallerDep, ModelsRead, ModelsWritten, ServiceDep, WriteDep
from service.downloads import FILE, ZIP, AnyResponse, ZipResponse, file_answer, zip_answer
from service.idempotency import OnceDep
from service.models.archive import unpack
from service.models.folder import check_member, examine
from service.models.schemas import ModelOut, ModelUpload, model_out
from service.openapi import problems
from service.pages import CursorDep, PageOut, known_cursor, page_out
from service.strict import StrictRoute
from service.uploads import COPY_BYTES, filename_of, scratch_folder

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute, responses=problems())


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[UPLOAD_TURN],
    response_model=ModelOut,
    responses={201: {"headers": {"Location": {"schema": {"type": "string"}}}}, **problems(409, 415, 507)},
)
def create_model(
    form: Annotated[ModelUpload, Form()], service: ServiceDep, caller: CallerDep, once: OnceDep
) -> Response:
    """Upload a transformers folder as an archive. Nothing in it is run, and no weights but safetensors are taken."""
    upload = once.of_upload(_digest(form), filename_of(form.file), form.name)
    with service.database.write() as session:
        # Known before the unpacking, which may take minutes; what this finds or takes is let go again.
        replayed = upload.earlier_answer(session)
        if replayed is not None:
            return replayed
        if Models(session, caller.owner).find(form.name) is not None:
            raise ModelNameTaken(form.name)
    model_id = make_id("model")
    kept: Response | None = None
    try:
        row = _stored(form, service.settings.work, service.settings.max_model_expanded_bytes, service.blobs, model_id)
        row.owner = caller.owner
        with service.database.write() as session:
            replayed = upload.earlier_answer(session)
            if replayed is not None:
                return replayed
            out = model_out(_add(Models(session, caller.owner), row))
            headers = {"Location": f"/v1/models/{form.name}"}
            # From here on the row may exist, whatever happens to the commit: its files must stay.
            kept = upload.keep(session, status.HTTP_201_CREATED, out.model_dump_json(), headers)
            session.commit()
        return kept
    finally:
        if kept is None:
            service.blobs.delete_below(f"models/{model_id}")


@router.get("", response_model=PageOut[ModelOut])
def list_models(models: ModelsRead, cursor: CursorDep) -> PageOut[ModelOut]:
    """Your models, uploaded and distilled, the newest first; `after` is a model_id."""
    cursor = known_cursor(cursor, models.get)
    page = models.page(cursor)
    return page_out([model_out(row) for row in page.rows], [row.id for row in page.rows], page.has_more)


@router.get("/{name}", response_model=ModelOut, responses=problems(404))
def get_model(name: str, models: ModelsRead) -> ModelOut:
    """One model, by its name, its model_id or the job that made it."""
    return model_out(models.get(name))


@router.get("/{name}/model.zip", response_class=ZipResponse, responses=ZIP)
@router.head("/{name}/model.zip", response_class=ZipResponse, responses=ZIP, operation_id="head_model_zip")
def get_model_zip(name: str, request: Request, models: ModelsRead, blobs: BlobsDep) -> Response:
    """The whole model in one zip."""
    model = models.get(name)
    return zip_answer(request, blobs, [(file["path"], _kept(file)) for file in model.files], f"{model.name}.zip")


@router.get("/{name}/files/{path:path}", response_class=AnyResponse, responses=FILE)
@router.head("/{name}/files/{path:path}", response_class=AnyResponse, responses=FILE, operation_id="head_model_file")
def get_model_file(name: str, path: str, request: Request, models: ModelsRead, blobs: BlobsDep) -> Response:
    """One of the model's `files`. Its ETag is its SHA-256; ranges resume a download."""
    found = next((file for file in models.get(name).files if file["path"] == path), None)
    if found is None:
        raise ModelFileNotFound(name, path)
    return file_answer(request, blobs, _kept(found), "application/octet-stream", path.rsplit("/", 1)[-1])


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409))
def delete_model(name: str, models: ModelsWritten, session: WriteDep, service: ServiceDep) -> None:
    """Forget a model that no active job reads; a distilled one goes from its job's artifacts too."""
    model = models.delete(name)
    if model.job_id is not None:
        below = Artifact.blob_key.startswith(f"models/{model.id}/", autoescape=True)
        session.execute(delete(Artifact).where(Artifact.job_id == model.job_id, below))
    folders = [f"models/{model.id}"]
    remains.leave(session, folders)
    session.commit()
    remains.clear(service.database, service.blobs, folders)


def _kept(file: dict[str, Any]) -> Stored:
    return Stored(file["blob_key"], file["bytes"], file["sha256"])


def _digest(form: ModelUpload) -> str:
    digest = hashlib.sha256()
    form.file.file.seek(0)
    while piece := form.file.file.read(COPY_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _stored(form: ModelUpload, work: Path, max_bytes: int, blobs: Blobs, model_id: str) -> Model:
    """Unpack, examine and store; the row that says what it is, without an owner yet."""
    with scratch_folder(work) as scratch:
        folder = scratch / "model"
        folder.mkdir()
        unpack(form.file.file, folder, max_bytes, check_member)
        facts = examine(folder)
        files = [_put(blobs, model_id, folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return Model(
        id=model_id,
        name=form.name,
        source="uploaded",
        task=facts.task,
        architecture=facts.architecture,
        labels=facts.labels,
        layers=facts.layers,
        parameters=facts.parameters,
        embedding_parameters=facts.embedding_parameters,
        bytes=sum(file["bytes"] for file in files),
        sha256=_identity(files),
        files=files,
    )


def _put(blobs: Blobs, model_id: str, folder: Path, path: Path) -> dict[str, Any]:
    relative = path.relative_to(folder).as_posix()
    stored = blobs.put(f"models/{model_id}/{relative}", path)
    return {"path": relative, "bytes": stored.bytes, "sha256": stored.sha256, "blob_key": stored.key}


def _identity(files: list[dict[str, Any]]) -> str:
    """As the worker computes it for what it trains from."""
    digests = sorted((file["path"], file["sha256"]) for file in files)
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _add(models: Models, row: Model) -> Model:
    try:
        return models.add(row)
    except IntegrityError:
        raise ModelNameTaken(row.name) from None
