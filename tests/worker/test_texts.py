"""What a teacher wrote is kept whatever becomes of its job: two files, and a data set that any job may learn from."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.artifacts import artifact, artifacts_of
from core.blobs import Blobs, Stored
from core.database import Database
from core.datasets import Datasets, examples_blob
from core.events import events_after
from core.jobs import Jobs
from core.leases import Lease
from core.pages import Cursor
from core.settings import Settings
from core.tables import Dataset, Job
from service.datasets.ingest import ingest
from tests.worker.conftest import OWNER, MakeJob, claimed, job_row
from worker.recorder import Recorder
from worker.texts import dataset_id_of, keep_texts

ROWS: list[dict[str, Any]] = [
    {
        "prompt": f"question {place}",
        "completion": "ja" * place,
        "messages": json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "ä"}]),
        "split": "train" if place else "test",
        "prompt_index": place,
        "sample_index": 0,
    }
    for place in range(3)
]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path, ROWS)


def write(folder: Path, rows: list[dict[str, Any]]) -> tuple[Path, Path]:
    texts, kept = folder / "texts.jsonl", folder / "kept.parquet"
    texts.write_text("{}\n")
    schema = pa.Table.from_pylist(ROWS).schema
    pq.write_table(pa.Table.from_pylist(rows, schema), kept)
    return texts, kept


def made_by(database: Database, job: Job) -> list[Dataset]:
    with database.read() as session:
        return list(Datasets(session, OWNER).page(Cursor(), derived_from=job.id).rows)


def test_both_files_and_the_data_set_are_there_while_the_job_runs(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob, written: tuple[Path, Path], tmp_path: Path
) -> None:
    lease, job = claimed(database, queued(name="first"))
    with Recorder(database, blobs, settings, lease, job) as recorder:
        recorder.texts(*written)
    (dataset,) = made_by(database, job)
    assert (dataset.id, dataset.name, dataset.examples) == (dataset_id_of(job.id), "first: texts", 3)
    blobs.fetch(examples_blob(dataset), tmp_path / "fetched")
    assert pq.read_table(tmp_path / "fetched").to_pylist() == ROWS
    assert job_row(database, job.id).status == "running"
    with database.read() as session:
        assert [found.path for found in artifacts_of(session, job.id)] == ["kept.parquet", "texts.jsonl"]
        assert dataset.id in events_after(session, job.id, 0, 10)[-1].message


def test_its_columns_are_described_as_an_upload_of_it_would_be(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob, written: tuple[Path, Path], tmp_path: Path
) -> None:
    lease, job = claimed(database, queued())
    assert keep_texts(database, blobs, lease, job, *written)
    (dataset,) = made_by(database, job)
    content = tmp_path / "upload.jsonl"
    content.write_text("".join(json.dumps({**row, "messages": json.loads(row["messages"])}) + "\n" for row in ROWS))
    uploaded = ingest(content, tmp_path / "examples.parquet", content.name, settings)
    for column, of_upload in zip(dataset.columns, uploaded.columns, strict=True):
        counted = column["values"] is not None
        assert column == {**of_upload, "values": of_upload["values"] if counted else None}
    assert next(column for column in dataset.columns if column["name"] == "split")["values"] == {"train": 2, "test": 1}


def test_a_later_attempt_replaces_the_texts_and_the_data_set_outlives_its_job(
    database: Database, blobs: Blobs, queued: MakeJob, written: tuple[Path, Path], tmp_path: Path
) -> None:
    lease, job = claimed(database, queued())
    assert keep_texts(database, blobs, lease, job, *written)
    job.attempt = 2
    (tmp_path / "later").mkdir()
    assert keep_texts(database, blobs, lease, job, *write(tmp_path / "later", ROWS[:2]))
    (dataset,) = made_by(database, job)
    assert dataset.examples == 2
    with database.write() as session:
        kept = artifact(session, job.id, "kept.parquet")
        session.expunge_all()
        Jobs(session, OWNER).cancel(job.id)
        session.get_one(Job, job.id).status = "cancelled"
        session.flush()
        Jobs(session, OWNER).delete(job.id)
        session.commit()
    blobs.delete_below(f"jobs/{job.id}")
    (left,) = made_by(database, job)
    blobs.fetch(Stored(left.content_key, left.bytes, left.sha256), tmp_path / "fetched")
    assert kept.sha256 == left.sha256


def test_without_a_kept_text_there_is_no_data_set(
    database: Database, blobs: Blobs, queued: MakeJob, tmp_path: Path
) -> None:
    lease, job = claimed(database, queued())
    assert keep_texts(database, blobs, lease, job, *write(tmp_path, []))
    assert made_by(database, job) == []
    with database.read() as session:
        assert artifact(session, job.id, "texts.jsonl").media_type == "application/jsonl"


def test_a_stale_worker_leaves_nothing(
    database: Database, blobs: Blobs, queued: MakeJob, written: tuple[Path, Path]
) -> None:
    _, job = claimed(database, queued())
    assert not keep_texts(database, blobs, Lease(job.id, "stale", "worker-z", 5), job, *written)
    assert made_by(database, job) == []
    assert [*blobs.list_below("jobs"), *blobs.list_below("datasets")] == []
