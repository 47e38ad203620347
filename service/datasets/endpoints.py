"""`/v1/datasets`: upload, look, fetch, delete."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, status
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from core import remains
from core.blobs import Blobs, Stored
from core.datasets import Datasets, folder_of
from core.errors import BlobDamaged, StorageUnavailable
from core.ids import make_id
from core.models import Models
from core.serving import ReadingAsk
from core.tables import Dataset
from service.blob_file import BlobFile
from service.datasets.pictures import shown_image
from service.datasets.preview import Preview, Read, read_by
from service.datasets.schemas import DatasetOut, DatasetUpload, ExamplesOut, dataset_out
from service.deps import (
    UPLOAD_TURN,
    BlobsDep,
    CallerDep,
    DatasetsRead,
    DatasetsWritten,
    ServiceDep,
    WriteDep,
)
from service.downloads import FILE, AnyResponse, file_answer
from service.idempotency import OnceDep
from service.openapi import problems
from service.pages import CursorDep, PageOut, known_cursor, page_out
from service.serving.listening import while_listened_to
from service.strict import StrictRoute
from service.uploads import filename_of, save, scratch_folder

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute, responses=problems())


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[UPLOAD_TURN],
    response_model=DatasetOut,
    responses={201: {"headers": {"Location": {"schema": {"type": "string"}}}}, **problems(409, 415, 507)},
)
def create_dataset(
    form: Annotated[DatasetUpload, Form()], service: ServiceDep, caller: CallerDep, once: OnceDep
) -> Response:
    """Upload a data set. It is checked line by line; a refusal lists the first ten faults with their places."""
    from service.datasets.ingest import ingest  # 40 MB, which a service that nobody uploads to does not hold

    filename = filename_of(form.file)
    dataset_id = make_id("ds")
    with scratch_folder(service.settings.work) as folder:
        content, examples = folder / "content", folder / "examples.parquet"
        digest = save(form.file, content)
        found = ingest(content, examples, filename, service.settings)
        stored, typed = _put(service.blobs, dataset_id, content, examples)
    row = Dataset(
        id=dataset_id,
        owner=caller.owner,
        name=form.name or filename,
        filename=filename,
        media_type=found.media_type,
        bytes=stored.bytes,
        sha256=stored.sha256,
        examples=found.examples,
        columns=found.columns,
        content_key=stored.key,
        examples_key=typed.key,
        examples_bytes=typed.bytes,
        examples_sha256=typed.sha256,
    )
    kept: Response | None = None
    try:
        with service.database.write() as session:
            replayed = once.of_upload(digest, filename, form.name or "").earlier_answer(session)
            if replayed is not None:
                return replayed
            out = dataset_out(Datasets(session, caller.owner).add(row))
            headers = {"Location": f"/v1/datasets/{dataset_id}"}
            # From here on the row may exist, whatever happens to the commit: its files must stay.
            kept = once.keep(session, status.HTTP_201_CREATED, out.model_dump_json(), headers)
            session.commit()
        return kept
    finally:
        if kept is None:
            service.blobs.delete_below(f"datasets/{dataset_id}")


@router.get("", response_model=PageOut[DatasetOut])
def list_datasets(
    datasets: DatasetsRead,
    cursor: CursorDep,
    derived_from: Annotated[str | None, Query(description="A job: what its teacher wrote.", max_length=100)] = None,
) -> PageOut[DatasetOut]:
    """Your data sets, the newest first."""
    cursor = known_cursor(cursor, datasets.get)
    page = datasets.page(cursor, derived_from)
    return page_out([dataset_out(row) for row in page.rows], [row.id for row in page.rows], page.has_more)


@router.get("/{dataset_id}", response_model=DatasetOut, responses=problems(404))
def get_dataset(dataset_id: str, datasets: DatasetsRead) -> DatasetOut:
    """One data set: its columns, their types and values."""
    return dataset_out(datasets.get(dataset_id))


@router.get("/{dataset_id}/examples", response_model=ExamplesOut, responses=problems(404, 429))
async def list_examples(
    dataset_id: str, request: Request, service: ServiceDep, caller: CallerDep, preview: Annotated[Preview, Query()]
) -> ExamplesOut:
    """Examples as they were understood: what a worker reads. With `tokenizer`, also as that model reads them.

    Reading chats takes a key with the scope `write`: the process that runs models runs the model's chat template.
    """

    def look() -> tuple[ExamplesOut, ReadingAsk | None]:
        with service.database.read() as session:
            row = Datasets(session, caller.owner).get(dataset_id)
            models = Models(session, caller.owner)
            is_read = preview.tokenizer is not None
            reader = preview.reader(row, models, service.blobs, service.settings) if is_read else None
        if isinstance(reader, ReadingAsk):
            caller.require("write", ", which everything takes that has models run, such as a chat template")
        return _examples(service.blobs, row, preview, reader)

    out, ask = await run_in_threadpool(look)
    if ask is None:
        return out
    return out.model_copy(update={"readings": await while_listened_to(request, read_by(service.serving, ask))})


@router.get("/{dataset_id}/content", response_class=AnyResponse, responses=FILE)
@router.head("/{dataset_id}/content", response_class=AnyResponse, responses=FILE, operation_id="head_dataset_content")
def get_content(dataset_id: str, request: Request, datasets: DatasetsRead, blobs: BlobsDep) -> Response:
    """The file as it was uploaded."""
    row = datasets.get(dataset_id)
    return file_answer(request, blobs, Stored(row.content_key, row.bytes, row.sha256), row.media_type, row.filename)


@router.delete("/{dataset_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409))
def delete_dataset(dataset_id: str, datasets: DatasetsWritten, session: WriteDep, service: ServiceDep) -> None:
    """Forget a data set that no active job needs."""
    folders = [folder_of(datasets.delete(dataset_id))]
    remains.leave(session, folders)
    session.commit()
    remains.clear(service.database, service.blobs, folders)


def _put(blobs: Blobs, dataset_id: str, content: Path, examples: Path) -> tuple[Stored, Stored]:
    """Store both files, or none. Raises DiskFull, StorageUnavailable."""
    try:
        stored = blobs.put(f"datasets/{dataset_id}/content", content)
        return stored, blobs.put(f"datasets/{dataset_id}/examples.parquet", examples)
    except Exception:
        with suppress(StorageUnavailable):
            blobs.delete_below(f"datasets/{dataset_id}")
        raise


def _examples(
    blobs: Blobs, row: Dataset, preview: Preview, reader: Read | ReadingAsk | None
) -> tuple[ExamplesOut, ReadingAsk | None]:
    """Return a page of examples, read as far as this process may, and what is left to ask the serving process."""
    from pyarrow import ArrowException

    try:
        data = _rows(BlobFile(blobs, row.examples_key, row.examples_bytes), row, preview.offset, preview.limit)
    except ArrowException:
        raise BlobDamaged(row.examples_key) from None
    out = ExamplesOut(
        data=data,
        readings=None if reader is None or isinstance(reader, ReadingAsk) else [reader(example) for example in data],
        offset=preview.offset,
        total=row.examples,
        has_more=preview.offset + len(data) < row.examples,
    )
    ask = reader.model_copy(update={"chats": preview.chats(data)}) if isinstance(reader, ReadingAsk) else None
    return out, ask


def _rows(file: BlobFile, row: Dataset, offset: int, limit: int) -> list[dict[str, Any]]:
    from pyarrow.parquet import ParquetFile

    as_json = [column["name"] for column in row.columns if column["type"] == "json"]
    found: list[dict[str, Any]] = []
    with ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            if offset < count:
                found += parquet.read_row_group(group).slice(offset, limit - len(found)).to_pylist()
            offset = max(0, offset - count)
            if len(found) >= limit:
                break
    images = [column["name"] for column in row.columns if column["type"] == "image"]
    for example in found:
        for name in as_json:
            example[name] = json.loads(example[name]) if example[name] is not None else None
        for name in images:
            example[name] = shown_image(example[name]) if example[name] is not None else None
    return found
