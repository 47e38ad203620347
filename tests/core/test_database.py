"""Two writers queue; nothing read is lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from core.database import Database
from core.jobs import Jobs
from core.spec import JobSpec
from core.tables import Job

SPEC = JobSpec.model_validate({"teacher": "t", "student": "s", "dataset": "ds_1", "task": "text-classification"})


def test_writers_wait_for_each_other_and_no_update_is_lost(database: Database) -> None:
    with database.write() as session:
        job_id = Jobs(session, "me").add(SPEC).id
        session.commit()

    def count_up(_: int) -> None:
        with database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(metric_count=Job.metric_count + 1))
            session.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(40)))
    with database.read() as session:
        assert Jobs(session, "me").get(job_id).metric_count == 40


def test_a_writer_that_fails_lets_the_next_one_in(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            Jobs(session, "me").add(SPEC)
            raise RuntimeError("half way")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="half way"):
            fail()
    with database.write() as session:
        first = Jobs(session, "me").add(SPEC).id
        session.commit()
        # The transaction is over, the session is not: others may write before it writes again.
        with database.write() as other:
            second = Jobs(other, "me").add(SPEC).id
            other.commit()
        third = Jobs(session, "me").add(SPEC).id
        session.commit()
    with database.read() as session:
        assert all(Jobs(session, "me").get(job_id) for job_id in (first, second, third))


def test_what_is_not_committed_is_not_kept(database: Database) -> None:
    with database.write() as session:
        job_id = Jobs(session, "me").add(SPEC).id
    with database.read() as session:
        assert session.get(Job, job_id) is None
