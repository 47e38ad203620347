"""A message is a bell; which job it starts, the rows decide."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from core import leases
from core.database import Database
from core.jobs import Jobs
from core.leases import Lease
from tests.worker.conftest import OWNER, MakeJob
from worker.children import Children
from worker.supervisor import Supervisor
from worker.tasks import answer_bell


@dataclass
class InstantSupervisor:
    """Claims and finishes in one step, as a supervisor whose child is infinitely fast."""

    database: Database
    ran: list[str] = field(default_factory=list)
    before_claim: Callable[[str], None] = lambda job_id: None

    def run(self, job_id: str) -> bool:
        self.before_claim(job_id)
        lease = Lease(job_id, "instant", "worker-b", 5)
        with self.database.write() as session:
            if leases.claim(session, lease) is None:
                return False
            leases.succeed(session, lease, {})
            session.commit()
        self.ran.append(job_id)
        return True


def ring(database: Database, supervisor: InstantSupervisor, job_id: object) -> None:
    answer_bell(database, supervisor, job_id)  # type: ignore[arg-type]


def test_a_message_delivered_ten_times_trains_once(database: Database, queued: MakeJob) -> None:
    supervisor, job = InstantSupervisor(database), queued()
    for _ in range(10):
        ring(database, supervisor, job.id)
    assert supervisor.ran == [job.id]


@pytest.mark.parametrize("garbage", [None, 7, "job_unknown", {"a": 1}, "x" * 10_000])
def test_garbage_starts_nothing(database: Database, queued: MakeJob, garbage: object) -> None:
    supervisor = InstantSupervisor(database)
    queued()
    ring(database, supervisor, garbage)
    assert supervisor.ran == []


def test_a_message_of_a_cancelled_or_deleted_job_starts_nothing(database: Database, queued: MakeJob) -> None:
    supervisor, cancelled, deleted = InstantSupervisor(database), queued(), queued()
    with database.write() as session:
        jobs = Jobs(session, OWNER)
        jobs.cancel(cancelled.id)
        jobs.cancel(deleted.id)
        jobs.delete(deleted.id)
        session.commit()
    ring(database, supervisor, cancelled.id)
    ring(database, supervisor, deleted.id)
    assert supervisor.ran == []


def test_each_bell_starts_the_job_whose_turn_it_is_and_none_is_left(database: Database, queued: MakeJob) -> None:
    first = queued()
    urgent = queued(resources={"priority": 5})
    supervisor = InstantSupervisor(database)
    ring(database, supervisor, first.id)
    ring(database, supervisor, urgent.id)
    # The second bell belongs to a job that has run already, so the first job would wait for a sweep: it must not.
    assert supervisor.ran == [urgent.id, first.id]


def test_a_bell_lost_to_another_worker_starts_the_next_job(database: Database, queued: MakeJob) -> None:
    first, second = queued(), queued()
    other = InstantSupervisor(database)

    def other_is_faster(job_id: str) -> None:
        if job_id == first.id:
            other.run(job_id)

    ours = InstantSupervisor(database, before_claim=other_is_faster)
    ring(database, ours, first.id)
    assert (other.ran, ours.ran) == ([first.id], [second.id])


def test_a_worker_that_is_told_to_stop_starts_nothing(database: Database, queued: MakeJob, blobs, settings) -> None:  # type: ignore[no-untyped-def]
    supervisor = Supervisor(database, blobs, settings, "worker-c", Children(("false",)))
    supervisor.should_stop.set()
    assert supervisor.run(queued().id)
