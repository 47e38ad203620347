"""A lease has one holder. Who has lost it changes nothing; what was lost comes back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import leases
from core.clock import database_now
from core.database import Database
from core.errors import ImpossibleMove
from core.events import events_after
from core.jobs import Jobs, mark_published
from core.leases import Lease
from core.lifecycle import JobStatus
from core.tables import Event, Job
from core.wire import JobError
from tests.core.rows import OWNER, add_job, claimed, count, job_row, lease_of, let_lease_expire, set_job

ERROR = JobError(code="loss_diverged", message="loss was nan", hint="Lower it.")
MAX_ATTEMPTS = 3


def swept(database: Database) -> list[str]:
    with database.write() as session:
        taken = list(leases.sweep(session, MAX_ATTEMPTS))
        session.commit()
    return taken


def test_of_sixteen_that_claim_one_job_one_gets_it(database: Database) -> None:
    for _ in range(5):
        job_id = add_job(database)
        start = Barrier(16)

        def claim(number: int, job_id: str = job_id, start: Barrier = start) -> str | None:
            start.wait()
            with database.write() as session:
                job = leases.claim(session, lease_of(job_id, f"token {number}"))
                session.commit()
                return None if job is None else job.lease_token

        with ThreadPoolExecutor(16) as pool:
            tokens = [token for token in pool.map(claim, range(16)) if token is not None]
        job = job_row(database, job_id)
        assert tokens == [job.lease_token]
        assert (job.status, job.version) == (JobStatus.RUNNING, 2)
        assert count(database, Event, Event.job_id == job_id) == 2


def test_a_claimed_job_says_who_has_it_and_since_when(database: Database) -> None:
    lease = claimed(database)
    job = job_row(database, lease.job_id)
    assert (job.worker, job.stage, job.attempt) == (lease.worker, "loading", 1)
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert 59 < (job.lease_expires_at - job.started_at).total_seconds() < 61


def test_renewing_moves_the_expiry_and_writes_beside_it(database: Database) -> None:
    lease = claimed(database)
    before = job_row(database, lease.job_id)
    with database.write() as session:
        assert leases.renew(session, lease, {"stage": "training", "seconds_run": 3.5}) == JobStatus.RUNNING
        session.commit()
    after = job_row(database, lease.job_id)
    assert (after.stage, after.seconds_run) == ("training", 3.5)
    assert after.lease_expires_at is not None
    assert before.lease_expires_at is not None
    assert after.lease_expires_at > before.lease_expires_at


def test_renewing_tells_of_a_cancel(database: Database) -> None:
    lease = claimed(database)
    with database.write() as session:
        Jobs(session, OWNER).cancel(lease.job_id)
        assert leases.renew(session, lease, {}) == JobStatus.CANCELLING


WRITES: dict[str, Callable[[Session, Lease], object]] = {
    "renew": lambda session, lease: leases.renew(session, lease, {"stage": "training", "metrics": {"loss": 1.0}}),
    "succeed": lambda session, lease: leases.succeed(session, lease, {"task": "text-classification"}),
    "cancelled": leases.cancelled,
    "paused": leases.paused,
    "fail": lambda session, lease: leases.fail(session, lease, ERROR),
    "give_back": lambda session, lease: leases.give_back(session, lease, "told to stop"),
    "lost": lambda session, lease: leases.lost(session, lease, "killed", MAX_ATTEMPTS),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("asked", [None, "pause", "cancel"])
def test_a_stale_token_changes_nothing(database: Database, name: str, asked: str | None) -> None:
    lease = claimed(database, "present")
    if asked is not None:
        with database.write() as session:
            getattr(Jobs(session, OWNER), asked)(lease.job_id)
            session.commit()
    before = columns_of(job_row(database, lease.job_id))
    with database.write() as session:
        assert not WRITES[name](session, lease_of(lease.job_id, "stale"))
        session.commit()
    assert columns_of(job_row(database, lease.job_id)) == before


def columns_of(job: Job) -> dict[str, object]:
    return {column.key: getattr(job, column.key) for column in Job.__table__.columns}


@pytest.mark.parametrize("name", WRITES)
def test_a_finished_job_is_beyond_its_workers_reach(database: Database, name: str) -> None:
    lease = claimed(database)
    with database.write() as session:
        assert leases.succeed(session, lease, {}) == JobStatus.SUCCEEDED
        assert not WRITES[name](session, lease)
        session.commit()
    assert job_row(database, lease.job_id).status == JobStatus.SUCCEEDED


def test_success_and_cancel_race_and_never_both_win(database: Database) -> None:
    outcomes = set()
    for _ in range(25):
        lease = claimed(database)
        start = Barrier(2)

        def finish(lease: Lease = lease, start: Barrier = start) -> JobStatus | None:
            start.wait()
            with database.write() as session:
                outcome = leases.succeed(session, lease, {})
                session.commit()
                return outcome

        def cancel(lease: Lease = lease, start: Barrier = start) -> str:
            start.wait()
            with database.write() as session:
                try:
                    job = Jobs(session, OWNER).cancel(lease.job_id)
                except ImpossibleMove:
                    return "refused"
                session.commit()
                return job.status

        with ThreadPoolExecutor(2) as pool:
            finished, asked = pool.submit(finish), pool.submit(cancel)
        status = job_row(database, lease.job_id).status
        outcomes.add((finished.result(), asked.result()))
        assert status == finished.result()
        with database.read() as session:
            ends = [
                found.data["status"] for found in events_after(session, lease.job_id, 0, 99) if found.type == "done"
            ]
        assert ends == [status]
    assert outcomes <= {
        (JobStatus.SUCCEEDED, "refused"),
        (JobStatus.CANCELLED, JobStatus.CANCELLING),
    }


@pytest.mark.parametrize("name", ["give_back", "lost", "succeed"])
@pytest.mark.databases("postgresql")  # SQLite's write lock leaves nothing between two statements.
def test_a_cancel_between_two_statements_of_a_worker_is_obeyed(database: Database, name: str) -> None:
    lease = claimed(database)
    accepted: list[bool] = []

    def cancel_in_between(*_: object) -> None:
        if accepted:
            return
        accepted.append(False)
        with database.write() as session:
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            try:
                Jobs(session, OWNER).cancel(lease.job_id)
                session.commit()
                accepted[0] = True
            except OperationalError:
                # The worker's first statement holds the row, so that there is no between.
                return

    event.listen(database.engine, "after_cursor_execute", cancel_in_between)
    with database.write() as session:
        WRITES[name](session, lease)
        session.commit()
    left_alone = JobStatus.SUCCEEDED if name == "succeed" else JobStatus.QUEUED
    assert job_row(database, lease.job_id).status == (JobStatus.CANCELLED if accepted[0] else left_alone)


def test_the_sweep_takes_back_what_is_overdue_and_nothing_else(database: Database) -> None:
    overdue, alive = claimed(database), claimed(database)
    waiting = add_job(database)
    let_lease_expire(database, overdue.job_id)
    assert swept(database) == [overdue.job_id]
    job = job_row(database, overdue.job_id)
    assert (job.status, job.attempt, job.times_lost, job.stage) == (JobStatus.QUEUED, 2, 1, None)
    assert job.published_at is None
    assert any("no sign of life" in warning for warning in job.warnings)
    assert job_row(database, alive.job_id).lease_token == alive.token
    assert job_row(database, waiting).version == 1
    assert swept(database) == []


def test_two_sweeps_at_once_take_a_job_back_once(database: Database) -> None:
    lease = claimed(database)
    let_lease_expire(database, lease.job_id)
    with ThreadPoolExecutor(8) as pool:
        taken = [job_id for found in pool.map(lambda _: swept(database), range(8)) for job_id in found]
    assert taken == [lease.job_id]
    assert job_row(database, lease.job_id).attempt == 2


def test_the_sweep_finishes_a_cancel_whose_worker_is_gone(database: Database) -> None:
    lease = claimed(database)
    with database.write() as session:
        Jobs(session, OWNER).cancel(lease.job_id)
        session.commit()
    let_lease_expire(database, lease.job_id)
    assert swept(database) == [lease.job_id]
    assert job_row(database, lease.job_id).status == JobStatus.CANCELLED


def test_a_job_that_loses_its_worker_too_often_fails(database: Database) -> None:
    job_id = add_job(database)
    for loss in range(1, MAX_ATTEMPTS + 1):
        assert job_row(database, job_id).attempt == loss
        with database.write() as session:
            assert leases.claim(session, lease_of(job_id))
            assert leases.lost(session, lease_of(job_id), "the training process was killed", MAX_ATTEMPTS)
            session.commit()
    job = job_row(database, job_id)
    assert (job.status, job.times_lost) == (JobStatus.FAILED, MAX_ATTEMPTS)
    assert job.error is not None
    assert job.error["code"] == "worker_lost"
    assert "the training process was killed" in job.error["message"]


def test_giving_back_is_no_loss(database: Database) -> None:
    job_id = add_job(database)
    for _ in range(MAX_ATTEMPTS + 2):
        with database.write() as session:
            assert leases.claim(session, lease_of(job_id))
            assert leases.give_back(session, lease_of(job_id), "Its worker was told to stop")
            session.commit()
    job = job_row(database, job_id)
    assert (job.status, job.times_lost, job.attempt) == (JobStatus.QUEUED, 0, MAX_ATTEMPTS + 3)


@pytest.mark.parametrize("write", [WRITES["give_back"], WRITES["lost"], WRITES["succeed"]])
def test_a_job_that_was_asked_to_stop_is_cancelled_however_it_ends(
    database: Database, write: Callable[[Session, Lease], object]
) -> None:
    lease = claimed(database)
    with database.write() as session:
        Jobs(session, OWNER).cancel(lease.job_id)
        assert write(session, lease)
        session.commit()
    job = job_row(database, lease.job_id)
    assert (job.status, job.attempt, job.report) == (JobStatus.CANCELLED, 1, None)


def test_next_comes_the_highest_priority_then_the_least_busy_owner_then_the_oldest(database: Database) -> None:
    claimed(database, owner="busy")
    oldest_of_busy = add_job(database, owner="busy")
    older, younger = add_job(database, owner="idle"), add_job(database, owner="idle")
    urgent = add_job(database, owner="busy", resources={"priority": 5})
    add_job(database, owner="idle", resources={"queue": "gpu", "priority": 100})
    turns = []
    for number in range(4):
        with database.write() as session:
            turn = leases.next_in_line(session, "default")
            assert turn is not None
            turns.append(turn)
            leases.claim(session, lease_of(turn, f"token {number}"))
            session.commit()
    # With the urgent one running, "busy" has two; "idle" catches up with two, and then age decides.
    assert turns == [urgent, older, younger, oldest_of_busy]
    with database.read() as session:
        assert leases.next_in_line(session, "default") is None


def test_the_place_in_the_queue_counts_down(database: Database) -> None:
    first, second = add_job(database), add_job(database)
    urgent = add_job(database, resources={"priority": 1})
    elsewhere = add_job(database, resources={"queue": "gpu"})
    with database.read() as session:
        jobs = [session.get_one(Job, job_id) for job_id in (urgent, first, second, elsewhere)]
        places = [leases.queue_position(session, job) for job in jobs]
        of_page = leases.queue_positions(session, jobs)
    assert places == [1, 2, 3, 1]
    assert of_page == dict(zip((urgent, first, second, elsewhere), places, strict=True))
    with database.write() as session:
        assert leases.claim(session, lease_of(urgent))
        assert leases.queue_positions(session, [session.get_one(Job, urgent)]) == {}
        assert leases.queue_position(session, session.get_one(Job, second)) == 2
        assert leases.queue_position(session, session.get_one(Job, urgent)) is None


def test_the_outbox_holds_what_the_broker_should_hear(database: Database) -> None:
    fresh, never, long_ago, just_now, running = (add_job(database) for _ in range(5))
    set_job(database, never, queued_at=database_now(-3))
    set_job(database, long_ago, published_at=database_now(-61))
    set_job(database, running, queued_at=database_now(-3), status=JobStatus.RUNNING)
    with database.write() as session:
        mark_published(session, just_now)
        session.commit()
    with database.read() as session:
        due = leases.unpublished(session, republish_seconds=60)
    assert {job_id for job_id, _ in due} == {never, long_ago}
    assert {queue for _, queue in due} == {"default"}
    assert job_row(database, fresh).published_at is None
