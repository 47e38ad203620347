"""What a teacher wrote, kept whatever becomes of its job: two files to download, and a data set of its own."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy.orm import Session

from core import leases
from core.artifacts import put_artifact
from core.blobs import Blobs, Stored
from core.chats import messages_of
from core.database import Database
from core.datasets import Datasets, folder_of
from core.events import record_event
from core.leases import Lease
from core.remains import leave
from core.tables import Artifact, Dataset, Job
from worker.patience import patiently, put_patiently

MEDIA_TYPES = {".jsonl": "application/jsonl", ".parquet": "application/vnd.apache.parquet"}
KINDS = {pa.string(): "string", pa.int64(): "integer"}
AS_JSON = "messages"
COUNTED = "split"


def dataset_id_of(job_id: str) -> str:
    """A job's texts are one data set: a later attempt replaces an earlier one's."""
    return job_id.replace("job_", "ds_", 1)


def keep_texts(database: Database, blobs: Blobs, lease: Lease, job: Job, texts: Path, kept: Path) -> bool:
    """Store both files, then their rows. Returns False if the lease is lost: then nothing is visible.

    Raises:
        StorageUnavailable, DiskFull: the files cannot be stored.
        DBAPIError: the database is away for longer than the lease.
    """
    artifacts = [_artifact(blobs, job, path) for path in (texts, kept)]
    dataset = _dataset(blobs, job, kept) if pq.read_metadata(kept).num_rows else None
    if patiently(lease, lambda: _write_rows(database, lease, job, artifacts, dataset)):
        return True
    for artifact in artifacts:
        blobs.delete(artifact.blob_key)
    if dataset is not None:
        blobs.delete(dataset.content_key)
    return False


def _artifact(blobs: Blobs, job: Job, path: Path) -> Artifact:
    stored = put_patiently(blobs, f"jobs/{job.id}/artifacts/{job.attempt}/{path.name}", path)
    return Artifact(
        job_id=job.id,
        path=path.name,
        bytes=stored.bytes,
        sha256=stored.sha256,
        media_type=MEDIA_TYPES[path.suffix],
        blob_key=stored.key,
    )


def _dataset(blobs: Blobs, job: Job, kept: Path) -> Dataset:
    """Store the kept texts once more: a data set outlives its job. What was uploaded and what is read are one file."""
    dataset_id = dataset_id_of(job.id)
    stored: Stored = put_patiently(blobs, f"datasets/{dataset_id}/{job.attempt}/{kept.name}", kept)
    table = pq.read_table(kept)
    return Dataset(
        id=dataset_id,
        owner=job.owner,
        name=f"{(job.name or job.id)[:190]}: texts",
        filename=kept.name,
        media_type=MEDIA_TYPES[kept.suffix],
        bytes=stored.bytes,
        sha256=stored.sha256,
        examples=table.num_rows,
        columns=[described(name, table.column(name)) for name in table.column_names],
        content_key=stored.key,
        examples_key=stored.key,
        examples_bytes=stored.bytes,
        examples_sha256=stored.sha256,
        derived_from=job.id,
    )


def described(name: str, column: pa.ChunkedArray) -> dict[str, Any]:
    """Say what a column holds as the service does of an upload's; values are counted where they are few by nature."""
    is_text = pa.types.is_string(column.type) and name != AS_JSON
    mean = pc.mean(pc.utf8_length(column)).as_py() if is_text else None
    counts = pc.value_counts(column.combine_chunks()).to_pylist() if name == COUNTED else None
    return {
        "name": name,
        "type": "json" if name == AS_JSON else KINDS[column.type],
        "nulls": column.null_count,
        "values": {count["values"]: count["counts"] for count in counts} if counts is not None else None,
        "mean_characters": round(mean, 1) if mean is not None else None,
        "not_chats": not_chats(column),
        "images": None,
    }


def not_chats(column: pa.ChunkedArray) -> dict[str, Any] | None:
    """Return which value is the first that is no chat, and why; None where all are."""
    for line, cell in enumerate(column.to_pylist(), 1):
        try:
            messages_of(cell)
        except ValueError as error:
            return {"line": line, "why": str(error)}
    return None


def _write_rows(database: Database, lease: Lease, job: Job, artifacts: list[Artifact], dataset: Dataset | None) -> bool:
    with database.write() as session:
        if leases.renew(session, lease, {}) is None:
            return False
        for artifact in artifacts:
            put_artifact(session, artifact)
        if dataset is not None:
            _put_dataset(session, job, dataset)
        session.commit()
        return True


def _put_dataset(session: Session, job: Job, dataset: Dataset) -> None:
    before = session.get(Dataset, dataset.id)
    if before is not None and folder_of(before) != folder_of(dataset):
        leave(session, [folder_of(before)])  # the sweeper's: a job may be reading it
    is_first = Datasets(session, job.owner).put(dataset)
    if is_first:
        message = f"{dataset.examples:,} kept texts are data set '{dataset.id}' now; it can train the next student"
        record_event(session, job.id, message, data={"dataset": dataset.id})
