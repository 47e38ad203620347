"""What a training leaves becomes visible in one commit, or not at all."""

from pathlib import Path

import pytest

from core.artifacts import artifacts_of
from core.blobs import Blobs
from core.database import Database
from core.jobs import Jobs
from core.leases import Lease
from core.models import Models
from core.tables import Model
from tests.reports import a_report
from tests.worker.conftest import OWNER, MakeJob, claimed, job_row
from worker.results import Results

STUDENT = ("config.json", "model.safetensors")
pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    (folder / "teacher").mkdir(parents=True)
    for name in (*STUDENT, "report.json", "MANIFEST.json", "texts.jsonl", "kept.parquet", "teacher/model.safetensors"):
        (folder / name).write_text(name)
    return folder


def test_artifacts_model_and_end_come_together(
    database: Database, blobs: Blobs, queued: MakeJob, exported: Path
) -> None:
    lease, job = claimed(database, queued(output={"model": "small"}))
    results = Results(blobs, job)
    results.upload(exported)
    with database.read() as session:
        assert artifacts_of(session, job.id) == []
        assert Models(session, OWNER).find("small") is None
    assert results.finish(database, lease, a_report()) == "succeeded"
    with database.read() as session:
        paths = {artifact.path: artifact for artifact in artifacts_of(session, job.id)}
        model = Models(session, OWNER).get("small")
    assert len(paths) == 7
    assert tuple(file["path"] for file in model.files) == STUDENT
    assert Models(session, OWNER).get(job.id).id == model.id, "a job's id names its student too"
    assert blobs.size(paths["teacher/model.safetensors"].blob_key) == len("teacher/model.safetensors")


def test_a_commit_whose_answer_was_lost_costs_no_file(
    database: Database, blobs: Blobs, queued: MakeJob, exported: Path
) -> None:
    """Whoever does not hear of a commit asks for it again; the database has it, and the lease is gone."""
    lease, job = claimed(database, queued(output={"model": "small"}))
    results = Results(blobs, job)
    results.upload(exported)
    assert results.finish(database, lease, a_report()) == "succeeded"
    assert results.finish(database, lease, a_report()) == "succeeded"
    with database.read() as session:
        artifacts = list(artifacts_of(session, job.id))
    assert [blobs.size(artifact.blob_key) for artifact in artifacts] == [artifact.bytes for artifact in artifacts]


def test_each_file_that_is_stored_is_a_sign_of_life(
    database: Database, blobs: Blobs, queued: MakeJob, exported: Path
) -> None:
    _, job = claimed(database, queued())
    heard: list[int] = []
    Results(blobs, job).upload(exported, lambda: heard.append(1))
    assert len(heard) == 7


def test_a_stale_worker_makes_nothing_visible_and_takes_its_files_back(
    database: Database, blobs: Blobs, queued: MakeJob, exported: Path
) -> None:
    _, job = claimed(database, queued())
    results = Results(blobs, job)
    results.upload(exported)
    assert results.finish(database, Lease(job.id, "stale", "worker-z", 5), a_report()) is None
    with database.read() as session:
        assert artifacts_of(session, job.id) == []
    left = [key.rpartition("/")[2] for room in ("models", "jobs") for key, _ in blobs.list_below(room)]
    assert sorted(left) == ["kept.parquet", "texts.jsonl"], "what a teacher wrote stays"
    assert job_row(database, job.id).status == "running"


def test_an_upload_that_fails_takes_its_files_back(
    database: Database, blobs: Blobs, queued: MakeJob, exported: Path
) -> None:
    _, job = claimed(database, queued())
    with pytest.raises(FileNotFoundError):
        Results(blobs, job).upload(exported, lambda: (exported / "texts.jsonl").unlink(missing_ok=True))
    left = [key.rpartition("/")[2] for room in ("models", "jobs") for key, _ in blobs.list_below(room)]
    assert left == ["kept.parquet"], "what a teacher wrote stays"


def test_a_cancel_that_came_first_wins(database: Database, blobs: Blobs, queued: MakeJob, exported: Path) -> None:
    lease, job = claimed(database, queued())
    results = Results(blobs, job)
    results.upload(exported)
    with database.write() as session:
        Jobs(session, OWNER).cancel(job.id)
        session.commit()
    assert results.finish(database, lease, a_report()) == "cancelled"
    with database.read() as session:
        assert artifacts_of(session, job.id) == []


def test_a_name_taken_meanwhile_costs_a_warning_not_the_student(
    database: Database, blobs: Blobs, queued: MakeJob, exported: Path
) -> None:
    lease, job = claimed(database, queued(output={"model": "small"}))
    taken = {
        "architecture": "BertModel",
        "parameters": 1,
        "embedding_parameters": 0,
        "bytes": 1,
        "sha256": "",
        "files": [],
    }
    with database.write() as session:
        Models(session, OWNER).add(Model(id="model_1", owner=OWNER, name="small", source="uploaded", **taken))
        session.commit()
    results = Results(blobs, job)
    results.upload(exported)
    assert results.finish(database, lease, a_report()) == "succeeded"
    with database.read() as session:
        assert Models(session, OWNER).get("small").id == "model_1"
        assert Models(session, OWNER).get(job.id).name == job.id
    assert "taken" in job_row(database, job.id).warnings[0]


def test_deleting_the_student_takes_the_jobs_same_files_out_of_its_list(
    database: Database, blobs: Blobs, queued: MakeJob, exported: Path
) -> None:
    lease, job = claimed(database, queued(output={"model": "small"}))
    results = Results(blobs, job)
    results.upload(exported)
    results.finish(database, lease, a_report())
    with database.write() as session:
        Models(session, OWNER).delete("small")
        session.commit()
    with database.read() as session:
        left = {artifact.path for artifact in artifacts_of(session, job.id)}
    assert left == {"report.json", "MANIFEST.json", "texts.jsonl", "kept.parquet", "teacher/model.safetensors"}
