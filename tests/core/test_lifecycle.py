"""Whatever is asked of a job, in whatever order and by however many at once, it only ever moves along MOVES."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from core import leases
from core.database import Database
from core.errors import ImpossibleMove
from core.events import events_after
from core.jobs import Jobs
from core.lifecycle import ACTIVE, FINAL, HELD, MOVES, JobStatus
from core.tables import Event, Job
from core.wire import JobError
from tests.core.rows import OWNER, add_job, count, job_row, lease_of, let_lease_expire

ERROR = JobError(code="loss_diverged", message="loss was nan", hint="Lower it.")
MAX_ATTEMPTS = 3

Ask = Callable[[Session, str], object]
# Two workers and an owner; "a" and "b" are the workers' tokens.
ASKS: dict[str, Ask] = {
    "a claims": lambda session, job_id: leases.claim(session, lease_of(job_id, "a")),
    "b claims": lambda session, job_id: leases.claim(session, lease_of(job_id, "b")),
    "a renews": lambda session, job_id: leases.renew(session, lease_of(job_id, "a"), {"stage": "training"}),
    "a succeeds": lambda session, job_id: leases.succeed(session, lease_of(job_id, "a"), {}),
    "b succeeds": lambda session, job_id: leases.succeed(session, lease_of(job_id, "b"), {}),
    "a fails": lambda session, job_id: leases.fail(session, lease_of(job_id, "a"), ERROR),
    "a stops": lambda session, job_id: leases.cancelled(session, lease_of(job_id, "a")),
    "a gives back": lambda session, job_id: leases.give_back(session, lease_of(job_id, "a"), "told to stop"),
    "b is lost": lambda session, job_id: leases.lost(session, lease_of(job_id, "b"), "killed", MAX_ATTEMPTS),
    "sweep": lambda session, _: leases.sweep(session, MAX_ATTEMPTS),
    "a rests": lambda session, job_id: leases.paused(session, lease_of(job_id, "a")),
    "pause": lambda session, job_id: Jobs(session, OWNER).pause(job_id),
    "resume": lambda session, job_id: Jobs(session, OWNER).resume(job_id),
    "cancel": lambda session, job_id: Jobs(session, OWNER).cancel(job_id),
    "retry": lambda session, job_id: Jobs(session, OWNER).retry(job_id),
}
EXPIRE = "the lease expires"


def ask(database: Database, job_id: str, name: str) -> None:
    if name == EXPIRE:
        let_lease_expire(database, job_id)
        return
    with database.write() as session:
        try:
            ASKS[name](session, job_id)
        except ImpossibleMove:
            return
        session.commit()


def assert_whole(job: Job) -> None:
    """What a row says in one column, the others do not deny."""
    assert (job.lease_token is not None) == (job.status in HELD)
    assert (job.finished_at is not None) == (job.status in FINAL)
    assert (job.error is not None) == (job.status == JobStatus.FAILED)
    assert job.times_lost <= MAX_ATTEMPTS


@given(st.lists(st.sampled_from([*ASKS, EXPIRE]), max_size=14))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_job_moves_only_along_the_arrows(database: Database, names: list[str]) -> None:
    job_id = add_job(database)
    before = job_row(database, job_id)
    for name in names:
        ask(database, job_id, name)
        after = job_row(database, job_id)
        assert after.status == before.status or after.status in MOVES[JobStatus(before.status)], name
        assert after.version > before.version or after.status == before.status
        assert after.attempt >= before.attempt
        if name != EXPIRE:
            assert_whole(after)
        before = after


PATHS: dict[tuple[JobStatus, JobStatus], list[str]] = {
    (JobStatus.QUEUED, JobStatus.RUNNING): ["a claims"],
    (JobStatus.QUEUED, JobStatus.CANCELLED): ["cancel"],
    (JobStatus.RUNNING, JobStatus.QUEUED): ["a claims", "a gives back"],
    (JobStatus.RUNNING, JobStatus.CANCELLING): ["a claims", "cancel"],
    (JobStatus.RUNNING, JobStatus.SUCCEEDED): ["a claims", "a succeeds"],
    (JobStatus.RUNNING, JobStatus.FAILED): ["a claims", "a fails"],
    (JobStatus.QUEUED, JobStatus.PAUSED): ["pause"],
    (JobStatus.RUNNING, JobStatus.PAUSING): ["a claims", "pause"],
    (JobStatus.PAUSING, JobStatus.PAUSED): ["a claims", "pause", "a rests"],
    (JobStatus.PAUSING, JobStatus.CANCELLING): ["a claims", "pause", "cancel"],
    (JobStatus.PAUSING, JobStatus.SUCCEEDED): ["a claims", "pause", "a succeeds"],
    (JobStatus.PAUSING, JobStatus.FAILED): ["a claims", "pause", "a fails"],
    (JobStatus.PAUSED, JobStatus.QUEUED): ["pause", "resume"],
    (JobStatus.PAUSED, JobStatus.CANCELLED): ["pause", "cancel"],
    (JobStatus.CANCELLING, JobStatus.CANCELLED): ["a claims", "cancel", "a stops"],
    (JobStatus.CANCELLING, JobStatus.FAILED): ["a claims", "cancel", "a fails"],
    (JobStatus.FAILED, JobStatus.QUEUED): ["a claims", "a fails", "retry"],
    (JobStatus.CANCELLED, JobStatus.QUEUED): ["cancel", "retry"],
}


@pytest.mark.parametrize("move", PATHS, ids=" to ".join)
def test_every_arrow_can_be_walked(database: Database, move: tuple[JobStatus, JobStatus]) -> None:
    job_id = add_job(database)
    *way, last = PATHS[move]
    for name in way:
        ask(database, job_id, name)
    assert job_row(database, job_id).status == move[0]
    ask(database, job_id, last)
    assert job_row(database, job_id).status == move[1]


def test_no_arrow_is_left_out() -> None:
    assert set(PATHS) == {(start, end) for start, ends in MOVES.items() for end in ends}


def test_every_status_is_active_or_final() -> None:
    assert set(JobStatus) == ACTIVE | FINAL
    assert not ACTIVE & FINAL
    assert HELD < ACTIVE


def test_eight_at_once_leave_a_trail_of_allowed_moves(database: Database) -> None:
    job_ids = [add_job(database) for _ in range(4)]

    def pester(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(40):
            ask(database, dice.choice(job_ids), dice.choice(list(ASKS)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(pester, range(8)))
    for job_id in job_ids:
        with database.read() as session:
            trail = [JobStatus(event.data["status"]) for event in events_after(session, job_id, 0, 10_000)]
        assert all(after in MOVES[before] for before, after in pairwise(trail)), trail
        assert trail[-1] == job_row(database, job_id).status
        assert_whole(job_row(database, job_id))
        assert count(database, Event, Event.job_id == job_id) == job_row(database, job_id).event_count
