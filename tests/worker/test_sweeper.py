"""The sweep brings back what was lost, and tells a real broker what it has not heard."""

import threading
from pathlib import Path

import pytest
import redis
from kombu.exceptions import OperationalError
from sqlalchemy import select, update

from core.blobs import Blobs
from core.clock import database_now
from core.database import Database
from core.settings import Settings
from core.tables import DeletedFolder, IdempotentAnswer, Job
from tests.servers import free_port, running_valkey
from tests.worker.conftest import MakeJob, claimed, job_row
from worker.app import make_app
from worker.sweeper import clean_forever, sweep_forever, sweep_once

QUEUE = "sweep-test"


def age(database: Database, job_id: str, **columns: float) -> None:
    """Move a job's times into the past, by the database's clock."""
    with database.write() as session:
        moved = {name: database_now(-seconds) for name, seconds in columns.items()}
        session.execute(update(Job).where(Job.id == job_id).values(moved))
        session.commit()


@pytest.fixture
def with_broker(settings: Settings, tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "broker").mkdir()
    with running_valkey(tmp_path / "broker") as url:
        yield Settings(data=settings.data, database_url=settings.database_url, broker_url=url, republish_seconds=30)


def waiting(settings: Settings) -> int:
    with redis.Redis.from_url(settings.broker) as client:
        length = client.llen(QUEUE)
        assert isinstance(length, int)
        return length


def test_a_job_whose_publish_was_lost_is_published_once(
    database: Database, with_broker: Settings, queued: MakeJob
) -> None:
    job = queued(resources={"queue": QUEUE})
    app = make_app(with_broker)
    age(database, job.id, queued_at=-60)  # whatever the machine does meanwhile, it is fresh
    sweep_once(database, app, with_broker)
    assert waiting(with_broker) == 0, "a fresh job is its endpoint's to publish"
    age(database, job.id, queued_at=10)
    sweep_once(database, app, with_broker)
    sweep_once(database, app, with_broker)
    assert waiting(with_broker) == 1


def test_a_flushed_broker_hears_again_of_what_still_waits(
    database: Database, with_broker: Settings, queued: MakeJob
) -> None:
    job = queued(resources={"queue": QUEUE})
    age(database, job.id, queued_at=100, published_at=100)
    sweep_once(database, make_app(with_broker), with_broker)
    assert waiting(with_broker) == 1


def test_a_job_whose_lease_ran_out_is_queued_again_and_published(
    database: Database, with_broker: Settings, queued: MakeJob
) -> None:
    _, job = claimed(database, queued(resources={"queue": QUEUE}))
    age(database, job.id, lease_expires_at=1)
    app = make_app(with_broker)
    sweep_once(database, app, with_broker)
    row = job_row(database, job.id)
    assert (row.status, row.attempt) == ("queued", 2)
    age(database, job.id, queued_at=10)
    sweep_once(database, app, with_broker)
    assert waiting(with_broker) == 1


def test_answers_older_than_a_day_are_forgotten_and_younger_ones_kept(
    database: Database, with_broker: Settings
) -> None:
    with database.write() as session:
        for key, hours in (("old", 25), ("young", 23)):
            row = IdempotentAnswer(owner="me", key=key, fingerprint="f", created_at=database_now(-hours * 3600))
            session.add(row)
        session.commit()
    sweep_once(database, make_app(with_broker), with_broker)
    with database.read() as session:
        assert session.get(IdempotentAnswer, ("me", "old")) is None
        assert session.get(IdempotentAnswer, ("me", "young")) is not None


def test_files_that_were_left_are_deleted_once_whoever_deleted_has_had_its_time(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("left")
    for folder, seconds in (("jobs/old", 61), ("jobs/young", 1)):
        blobs.put(f"{folder}/file", file)
        with database.write() as session:
            session.add(DeletedFolder(folder=folder, deleted_at=database_now(-seconds)))
            session.commit()
    should_stop = threading.Event()
    cleaning = threading.Thread(target=clean_forever, args=(database, blobs, settings, should_stop))
    cleaning.start()
    for _ in range(100):
        with database.read() as session:
            noted = [row.folder for row in session.scalars(select(DeletedFolder))]
        if noted == ["jobs/young"]:
            break
        should_stop.wait(0.1)
    should_stop.set()
    cleaning.join(10)
    assert noted == ["jobs/young"]
    assert [key for key, _ in blobs.list_below("jobs")] == ["jobs/young/file"]


@pytest.mark.databases("sqlite")
def test_a_broker_that_is_down_is_waited_for(
    database: Database, settings: Settings, queued: MakeJob, tmp_path: Path
) -> None:
    job = queued(resources={"queue": QUEUE})
    age(database, job.id, queued_at=10)
    port = free_port()
    url = f"redis://:secret@127.0.0.1:{port}/0"
    patient = Settings(data=settings.data, database_url=settings.database_url, broker_url=url, sweep_seconds=0.1)
    app, should_stop = make_app(patient), threading.Event()
    with pytest.raises((OperationalError, OSError)):
        sweep_once(database, app, patient)
    sweeping = threading.Thread(target=sweep_forever, args=(database, app, patient, should_stop))
    sweeping.start()
    (tmp_path / "late").mkdir()
    with running_valkey(tmp_path / "late", port):
        for _ in range(100):
            if job_row(database, job.id).published_at is not None:
                break
            should_stop.wait(0.1)
        assert waiting(patient) == 1
        should_stop.set()
        sweeping.join(10)
