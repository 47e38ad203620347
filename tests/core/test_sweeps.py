"""A sweep is its jobs: it is made, cancelled and deleted with them, and its status is counted from theirs."""

from collections.abc import Sequence

import pytest

from core import leases
from core.database import Database
from core.errors import SweepActive, SweepFinished, SweepNotFound
from core.events import events_after
from core.jobs import Jobs
from core.lifecycle import JobStatus
from core.pages import Cursor
from core.sweeps import PlannedPoint, Sweeps, is_in_sweep, status_of
from core.tables import Job, SweepPoint
from core.wire import Estimate
from tests.core.rows import OWNER, add_job, count, job_row, lease_of, spec_of

GUESS = Estimate(seconds=1, peak_memory_bytes=1, disk_bytes=1)
QUEUED, RUNNING, CANCELLING = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING
PAUSED = JobStatus.PAUSED
SUCCEEDED, FAILED, CANCELLED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED


def add_sweep(database: Database, temperatures: Sequence[float] = (1.0, 2.0, 4.0)) -> tuple[str, list[str]]:
    """Store a sweep whose first job trains the baseline for all, and return its id and its jobs'."""
    planned = [PlannedPoint({"T": T}, spec_of(T=T), GUESS, ["model_1"], ["Careful."], 0) for T in temperatures]
    with database.write() as session:
        sweeps = Sweeps(session, OWNER)
        row = sweeps.add("heat", {"teacher": "t"}, {"T": list(temperatures)}, ["A note."], planned)
        job_ids = [point.job_id for point, _ in sweeps.points(row.id) if point.job_id]
        session.commit()
    return row.id, job_ids


def statuses(database: Database, sweep_id: str) -> list[str | None]:
    with database.read() as session:
        return [job.status if job else None for _, job in Sweeps(session, OWNER).points(sweep_id)]


def finish(database: Database, job_id: str) -> None:
    with database.write() as session:
        leases.claim(session, lease_of(job_id))
        leases.succeed(session, lease_of(job_id), {})
        session.commit()


def test_each_point_is_a_plain_job_in_the_order_of_the_grid(database: Database) -> None:
    sweep_id, job_ids = add_sweep(database)
    assert [job_row(database, job_id).spec["T"] for job_id in job_ids] == [1.0, 2.0, 4.0]
    assert job_ids == sorted(job_ids)
    with database.read() as session:
        assert leases.next_in_line(session, "default") == job_ids[0]
        points = [point for point, _ in Sweeps(session, OWNER).points(sweep_id)]
        assert [(point.place, point.values) for point in points] == [(1, {"T": 1.0}), (2, {"T": 2.0}), (3, {"T": 4.0})]
        assert {point.baseline_job_id for point in points} == {job_ids[0]}
        said = {job_id: [event.message for event in events_after(session, job_id, 0, 10)] for job_id in job_ids}
        assert all(is_in_sweep(session, job_id) for job_id in job_ids)
    assert all("Careful." in messages for messages in said.values())
    assert [any(job_ids[0] in message for message in said[job_id]) for job_id in job_ids] == [False, True, True]


def test_a_job_of_its_own_is_in_no_sweep(database: Database) -> None:
    job_id = add_job(database)
    with database.read() as session:
        assert not is_in_sweep(session, job_id)


def test_another_owner_sees_none_of_it(database: Database) -> None:
    sweep_id, _ = add_sweep(database)
    with database.write() as session:
        others = Sweeps(session, "other")
        for verb in (others.get, others.cancel, others.delete):
            with pytest.raises(SweepNotFound):
                verb(sweep_id)
        assert others.page(Cursor()).rows == []
    assert statuses(database, sweep_id) == [QUEUED] * 3


def test_cancelling_stops_what_is_left_and_is_harmless_to_repeat(database: Database) -> None:
    sweep_id, (done, running, _) = add_sweep(database)
    finish(database, done)
    with database.write() as session:
        leases.claim(session, lease_of(running))
        session.commit()
    for _ in range(2):
        with database.write() as session:
            Sweeps(session, OWNER).cancel(sweep_id)
            session.commit()
        assert statuses(database, sweep_id) == [SUCCEEDED, CANCELLING, CANCELLED]
    with database.read() as session:
        assert leases.next_in_line(session, "default") is None


def test_what_has_ended_by_itself_is_not_cancelled(database: Database) -> None:
    sweep_id, job_ids = add_sweep(database, [1.0, 2.0])
    for job_id in job_ids:
        finish(database, job_id)
    with database.write() as session, pytest.raises(SweepFinished):
        Sweeps(session, OWNER).cancel(sweep_id)


def test_a_finished_sweep_is_deleted_with_its_jobs_and_an_active_one_with_none(database: Database) -> None:
    sweep_id, job_ids = add_sweep(database)
    finish(database, job_ids[0])
    with database.write() as session, pytest.raises(SweepActive, match="2 unfinished jobs"):
        Sweeps(session, OWNER).delete(sweep_id)
    assert statuses(database, sweep_id) == [SUCCEEDED, QUEUED, QUEUED]
    other, _ = add_sweep(database)
    with database.write() as session:
        sweeps = Sweeps(session, OWNER)
        sweeps.cancel(sweep_id)
        assert sorted(sweeps.delete(sweep_id)) == job_ids
        session.commit()
    assert (count(database, Job), count(database, SweepPoint)) == (3, 3)
    assert statuses(database, other) == [QUEUED] * 3


def test_a_point_outlives_its_job(database: Database) -> None:
    sweep_id, job_ids = add_sweep(database, [1.0, 2.0])
    finish(database, job_ids[0])
    with database.write() as session:
        Jobs(session, OWNER).delete(job_ids[0])
        session.commit()
    assert statuses(database, sweep_id) == [None, QUEUED]
    with database.read() as session:
        looks = Sweeps(session, OWNER).looks([sweep_id])[sweep_id]
    assert {look.status for look in looks} == {None, QUEUED}


@pytest.mark.parametrize(
    ("jobs", "whole"),
    [
        ([QUEUED, QUEUED], QUEUED),
        ([RUNNING, QUEUED], RUNNING),
        ([SUCCEEDED, QUEUED], RUNNING),
        ([FAILED, RUNNING], RUNNING),
        ([CANCELLED, CANCELLING], CANCELLING),
        ([PAUSED, SUCCEEDED], PAUSED),
        ([PAUSED, RUNNING], RUNNING),
        ([PAUSED, QUEUED], QUEUED),
        ([PAUSED, CANCELLING, SUCCEEDED], CANCELLING),
        ([SUCCEEDED, SUCCEEDED], SUCCEEDED),
        ([SUCCEEDED, None], SUCCEEDED),
        ([SUCCEEDED, CANCELLED], CANCELLED),
        ([SUCCEEDED, CANCELLED, FAILED], FAILED),
        ([None], CANCELLED),
    ],
)
def test_the_status_is_counted_from_the_jobs(jobs: list[JobStatus | None], whole: JobStatus) -> None:
    assert status_of(jobs) == whole
