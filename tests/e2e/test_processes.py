"""A job in two processes, through the service: it survives the death of one, and both end with it."""

import os
import signal

import psutil
import pytest

from distill_client import ApiError, Client
from tests.e2e.conftest import Uploaded
from tests.e2e.stack import Stack
from tests.e2e.test_classification import JOB_SECONDS, LONG, in_training, until

TWO = {"processes": 2}
pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two processes want two cores")


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_killed_process_ends_the_other_and_the_job_resumes(stack: Stack, client: Client, uploaded: Uploaded) -> None:
    spec = uploaded.spec(training={**LONG, "max_steps": 200}, evaluation={"baseline": False}, resources=TWO)
    job = client.jobs.submit(spec)

    until(in_training(client, job, step=20), seconds=JOB_SECONDS)
    both = processes_of(stack, job.id)
    both[1].send_signal(signal.SIGKILL)
    _, left = psutil.wait_procs(both, timeout=60)
    assert not left

    done = client.jobs.wait(job.id, JOB_SECONDS)
    assert (done.status, done.attempt) == ("succeeded", 2), done.error
    assert any("One of its training processes ended by signal SIGKILL" in warning for warning in done.warnings)


def processes_of(stack: Stack, job_id: str) -> list[psutil.Process]:
    """The first process of the running attempt and the one that it started, as soon as both are there."""
    both: list[psutil.Process] = []

    def look() -> bool:
        first = stack.training_child(job_id)
        both[:] = [] if first is None else [first, *first.children()]
        return len(both) == 2

    until(look, seconds=JOB_SECONDS)
    return both


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_cancel_ends_both(stack: Stack, client: Client, uploaded: Uploaded) -> None:
    job = client.jobs.submit(uploaded.spec(training=LONG, resources=TWO))
    until(in_training(client, job, step=25), seconds=JOB_SECONDS)
    both = processes_of(stack, job.id)
    client.jobs.cancel(job.id)
    until(lambda: client.jobs.get(job.id).status == "cancelled")
    _, left = psutil.wait_procs(both, timeout=60)
    assert not left


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_what_cannot_be_shared_is_refused_at_once(client: Client, uploaded: Uploaded) -> None:
    with pytest.raises(ApiError, match="3 processes cannot share batches of 16 evenly"):
        client.jobs.submit(uploaded.spec(resources={"processes": 3}))
