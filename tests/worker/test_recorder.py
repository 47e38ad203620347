"""What training says reaches the rows; what others ask of the job reaches training."""

import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text, update

from core import leases
from core.blobs import Blobs
from core.clock import database_now
from core.database import Database
from core.events import events_after, series
from core.jobs import Jobs
from core.settings import Settings
from core.tables import Job
from core.wire import Progress
from tests.worker.conftest import OWNER, MakeJob, claimed, job_row
from worker.recorder import Recorder


def recorder_of(database: Database, blobs: Blobs, settings: Settings, job: Job) -> Recorder:
    lease, taken = claimed(database, job)
    return Recorder(database, blobs, settings, lease, taken)


def wait_for(condition, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_training_says_is_written_in_one_beat(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob
) -> None:
    job = queued()
    with recorder_of(database, blobs, settings, job) as recorder:
        recorder.stage("training")
        recorder.progress(Progress(percent=50, step=5, total_steps=10))
        recorder.metrics(5, {"kd_loss": 1.5, "ce_loss": 0.5})
        recorder.event("texts are cut", "warning")
        recorder.flush()
        row = job_row(database, job.id)
        assert (row.stage, row.progress["step"], row.metrics) == ("training", 5, {"kd_loss": 1.5, "ce_loss": 0.5})
        assert row.warnings == ["texts are cut"]
        with database.read() as session:
            assert series(session, job.id, "kd_loss") == [(5, 1.5)]
            assert events_after(session, job.id, 0, 10)[-1].message == "texts are cut"


@pytest.mark.parametrize("asked", ["cancel", "pause"])
def test_a_beat_renews_the_lease_and_hears_of_a_cancel_or_a_pause(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob, asked: str
) -> None:
    job = queued()
    with recorder_of(database, blobs, settings, job) as recorder:
        assert recorder.stop_reason() is None
        before = job_row(database, job.id).lease_expires_at
        with database.write() as session:
            getattr(Jobs(session, OWNER), asked)(job.id)
            session.commit()
        wait_for(lambda: recorder.stop_reason() == asked)
        after = job_row(database, job.id).lease_expires_at
        assert before is not None
        assert after is not None
        assert after > before


def test_a_lease_that_another_holds_stops_the_training_and_nothing_more_is_written(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob, tmp_path: Path
) -> None:
    job = queued()
    with recorder_of(database, blobs, settings, job) as recorder:
        with database.write() as session:
            session.execute(update(Job).where(Job.id == job.id).values(lease_expires_at=database_now(-1)))
            assert leases.sweep(session, 3) == [job.id]
            session.commit()
        claimed(database, job, token="another's")
        recorder.stage("exporting")
        recorder.metrics(7, {"kd_loss": 9.0})
        recorder.flush()
        assert recorder.stop_reason() == "lease_lost"
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"stale")
        recorder.checkpoint("student", 7, tmp_path / "checkpoint", {})
        row = job_row(database, job.id)
        assert (row.stage, row.metrics) == ("loading", {})
        assert list(blobs.list_below(f"jobs/{job.id}/checkpoints")) == []


def test_the_time_limit_counts_all_attempts(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob
) -> None:
    job = queued(resources={"max_minutes": 1.0})
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job.id).values(seconds_run=59.9))
        session.commit()
    with recorder_of(database, blobs, settings, job) as recorder:
        wait_for(lambda: recorder.stop_reason() == "time_limit")


def test_a_training_that_makes_no_step_gives_up_its_lease(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob
) -> None:
    job = queued()
    impatient = settings.model_copy(update={"stall_seconds": 0.1})
    with recorder_of(database, blobs, impatient, job):
        first = job_row(database, job.id).lease_expires_at
        time.sleep(1.5)
        assert job_row(database, job.id).lease_expires_at == first


@pytest.mark.databases("postgresql")
def test_a_database_that_drops_its_connections_loses_no_number(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob, postgres: str
) -> None:
    job = queued()
    killer = create_engine(postgres, isolation_level="AUTOCOMMIT")
    name = database.url.database
    with recorder_of(database, blobs, settings, job) as recorder:
        for step in range(30):
            recorder.metrics(step, {"loss": float(step)})
            if step % 5 == 0:
                with killer.connect() as connection:
                    drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
                    connection.execute(text(drop), {"name": name})
            time.sleep(0.05)
        wait_for(lambda: len(loss_of(database, job.id)) == 30)
    killer.dispose()
    assert loss_of(database, job.id) == [(step, float(step)) for step in range(30)]


def loss_of(database: Database, job_id: str) -> list[tuple[int, float]]:
    with database.read() as session:
        return series(session, job_id, "loss")


def test_what_comes_or_is_stored_piece_by_piece_keeps_the_lease(
    database: Database, blobs: Blobs, settings: Settings, queued: MakeJob
) -> None:
    job = queued()
    impatient = settings.model_copy(update={"stall_seconds": 0.5})
    with recorder_of(database, blobs, impatient, job) as recorder:
        first = job_row(database, job.id).lease_expires_at
        deadline = time.monotonic() + 10
        while job_row(database, job.id).lease_expires_at == first:
            assert time.monotonic() < deadline
            recorder.moved()
            time.sleep(0.05)
