"""An owner's jobs: only its own, and every verb harmless when repeated."""

from datetime import UTC, datetime, timedelta

import pytest

from core import leases
from core.database import Database
from core.errors import ImpossibleMove, JobNotFound
from core.events import events_after, record_metrics
from core.jobs import JobFilter, Jobs, active_job_using
from core.lifecycle import JobStatus
from core.pages import Cursor
from core.tables import Event, JobLabel, JobModel, Metric
from core.wire import Estimate, JobError
from tests.core.rows import OWNER, add_job, claimed, count, job_row, lease_of, let_lease_expire, spec_of

ERROR = JobError(code="loss_diverged", message="loss was nan", hint="Lower it.")


def found(database: Database, wanted: JobFilter, owner: str = OWNER) -> list[str]:
    with database.read() as session:
        return [job.id for job in Jobs(session, owner).page(wanted, Cursor(order="asc")).rows]


def test_a_job_is_stored_with_its_whole_spec(database: Database) -> None:
    spec = spec_of(name="n", labels={"team": "nlp"}, resources={"queue": "gpu", "priority": 7})
    estimate = Estimate(seconds=3, peak_memory_bytes=4, disk_bytes=5)
    with database.write() as session:
        job_id = Jobs(session, OWNER).add(spec, estimate, ["model_b", "model_a", "model_b"]).id
        session.commit()
    job = job_row(database, job_id)
    assert type(spec).model_validate(job.spec) == spec
    assert (job.status, job.queue, job.priority, job.attempt, job.version) == (JobStatus.QUEUED, "gpu", 7, 1, 1)
    assert job.estimate == estimate.model_dump()
    assert count(database, JobLabel, JobLabel.job_id == job_id) == 1
    assert count(database, JobModel, JobModel.job_id == job_id) == 2
    with database.read() as session:
        assert [event.type for event in events_after(session, job_id, 0, 10)] == ["status"]


def test_another_owners_job_is_not_there(database: Database) -> None:
    job_id = add_job(database)
    with database.write() as session:
        others = Jobs(session, "other")
        for verb in (others.get, others.cancel, others.pause, others.resume, others.retry, others.delete):
            with pytest.raises(JobNotFound):
                verb(job_id)
        session.commit()
    assert found(database, JobFilter(), "other") == []
    assert job_row(database, job_id).version == 1


def test_filters_narrow_and_combine(database: Database) -> None:
    red = add_job(database, name="Alpha 100%", labels={"team": "red", "tier": "1"})
    blue = add_job(database, name="beta_x", labels={"team": "blue"})
    running = claimed(database, labels={"team": "red"}).job_id
    assert found(database, JobFilter()) == [red, blue, running]
    assert found(database, JobFilter(status=JobStatus.RUNNING)) == [running]
    assert found(database, JobFilter(labels={"team": "red"})) == [red, running]
    assert found(database, JobFilter(labels={"team": "red", "tier": "1"})) == [red]
    assert found(database, JobFilter(labels={"team": "1"})) == []
    assert found(database, JobFilter(task="text-classification", status=JobStatus.QUEUED)) == [red, blue]
    assert found(database, JobFilter(name_contains="ALPHA")) == [red]
    # A pattern's signs are letters like any other.
    assert found(database, JobFilter(name_contains="%")) == [red]
    assert found(database, JobFilter(name_contains="_")) == [blue]


def test_jobs_are_found_by_when_they_came(database: Database) -> None:
    job_id = add_job(database)
    created_at = job_row(database, job_id).created_at
    moment = timedelta(seconds=1)
    assert found(database, JobFilter(created_after=created_at - moment, created_before=created_at + moment)) == [job_id]
    assert found(database, JobFilter(created_after=created_at + moment)) == []
    assert found(database, JobFilter(created_before=created_at - moment)) == []
    assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=1)


def test_cancelling_what_waits_is_at_once_and_what_runs_is_asked(database: Database) -> None:
    waiting, lease = add_job(database), claimed(database)
    for _ in range(2):
        with database.write() as session:
            assert Jobs(session, OWNER).cancel(waiting).status == JobStatus.CANCELLED
            assert Jobs(session, OWNER).cancel(lease.job_id).status == JobStatus.CANCELLING
            session.commit()
    # Repeating changed nothing, so it said nothing and moved no version.
    assert count(database, Event, Event.job_id == waiting) == 2
    assert job_row(database, waiting).version == 2
    assert job_row(database, lease.job_id).finished_at is None


def test_pausing_what_waits_is_at_once_and_what_runs_is_asked(database: Database) -> None:
    waiting, lease = add_job(database), claimed(database)
    for _ in range(2):
        with database.write() as session:
            assert Jobs(session, OWNER).pause(waiting).status == JobStatus.PAUSED
            assert Jobs(session, OWNER).pause(lease.job_id).status == JobStatus.PAUSING
            session.commit()
    assert count(database, Event, Event.job_id == waiting) == 2
    assert job_row(database, waiting).version == 2
    with database.write() as session:
        assert leases.next_in_line(session, job_row(database, waiting).queue) is None
        with pytest.raises(ImpossibleMove):
            Jobs(session, OWNER).resume(lease.job_id)


def test_a_resumed_job_goes_on_counting_what_it_cost_and_lost(database: Database) -> None:
    lease = claimed(database)
    with database.write() as session:
        leases.renew(session, lease, {"seconds_run": 9.0, "times_lost": 1})
        Jobs(session, OWNER).pause(lease.job_id)
        assert leases.give_back(session, lease, "told to")
        session.commit()
    assert job_row(database, lease.job_id).status == JobStatus.PAUSED
    for _ in range(2):
        with database.write() as session:
            job = Jobs(session, OWNER).resume(lease.job_id)
            assert (job.status, job.attempt, job.seconds_run, job.times_lost) == (JobStatus.QUEUED, 2, 9.0, 1)
            session.commit()
    with database.write() as session:
        assert leases.claim(session, lease) is not None
        assert Jobs(session, OWNER).resume(lease.job_id).status == JobStatus.RUNNING, "a request that came twice"


@pytest.mark.parametrize("how", ["given back", "lost", "swept"])
def test_however_a_pausing_jobs_worker_goes_the_job_rests(database: Database, how: str) -> None:
    lease = claimed(database)
    with database.write() as session:
        Jobs(session, OWNER).pause(lease.job_id)
        session.commit()
    let_lease_expire(database, lease.job_id)
    with database.write() as session:
        if how == "swept":
            assert leases.sweep(session, 3) == [lease.job_id]
        else:
            assert leases.give_back(session, lease, "x") if how == "given back" else leases.lost(session, lease, "x", 3)
        session.commit()
    job = job_row(database, lease.job_id)
    assert (job.status, job.lease_token, job.finished_at, job.times_lost) == (JobStatus.PAUSED, None, None, 0)
    with database.read() as session:
        last = events_after(session, lease.job_id, 0, 10)[-1]
    assert (last.level == "warning") == (how != "given back"), "what may be lost is said"


def test_what_succeeded_is_neither_cancelled_nor_retried(database: Database) -> None:
    lease = claimed(database)
    with database.write() as session:
        leases.succeed(session, lease, {})
        for verb in (Jobs(session, OWNER).cancel, Jobs(session, OWNER).pause, Jobs(session, OWNER).retry):
            with pytest.raises(ImpossibleMove):
                verb(lease.job_id)


def test_a_retry_starts_the_count_of_losses_and_the_time_limit_anew(database: Database) -> None:
    lease = claimed(database)
    with database.write() as session:
        leases.renew(session, lease, {"seconds_run": 99.0})
        leases.fail(session, lease, ERROR)
        session.commit()
    for _ in range(2):
        with database.write() as session:
            assert Jobs(session, OWNER).retry(lease.job_id).status == JobStatus.QUEUED
            session.commit()
    job = job_row(database, lease.job_id)
    assert (job.attempt, job.times_lost, job.seconds_run, job.error, job.published_at) == (2, 0, 0.0, None, None)


def test_only_a_finished_job_is_deleted_and_all_that_it_said_goes_with_it(database: Database) -> None:
    lease = claimed(database, labels={"team": "nlp"}, model_ids=("model_a",))
    with database.write() as session:
        record_metrics(session, lease.job_id, [("loss", 1, 1.0)])
        with pytest.raises(ImpossibleMove):
            Jobs(session, OWNER).delete(lease.job_id)
        leases.succeed(session, lease, {})
        session.commit()
    with database.write() as session:
        Jobs(session, OWNER).delete(lease.job_id)
        session.commit()
    assert [count(database, row) for row in (Event, Metric, JobLabel, JobModel)] == [0, 0, 0, 0]
    with database.write() as session, pytest.raises(JobNotFound):
        Jobs(session, OWNER).get(lease.job_id)


def test_a_job_needs_its_inputs_until_it_is_finished(database: Database) -> None:
    job_id = add_job(database, dataset="ds_used", model_ids=("model_used",))
    with database.write() as session:
        assert active_job_using(session, dataset_id="ds_used") == job_id
        assert active_job_using(session, model_id="model_used") == job_id
        assert active_job_using(session, dataset_id="ds_other") is None
        assert leases.claim(session, lease_of(job_id))
        assert active_job_using(session, dataset_id="ds_used") == job_id
        leases.succeed(session, lease_of(job_id), {})
        assert active_job_using(session, dataset_id="ds_used") is None
        assert active_job_using(session, model_id="model_used") is None
