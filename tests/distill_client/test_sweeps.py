"""Sweeps through the client, against the real service with a worker that the test plays."""

import threading
from typing import Any

import pytest

from core.wire import JobError
from distill_client import ApiError, SweepTimeout
from tests.distill_client.live import REPORT, Live, quality
from tests.service.samples import spec

ERROR = JobError(code="loss_diverged", message="loss was nan at step 3", hint="Lower it.")


@pytest.fixture
def base(live: Live) -> dict[str, Any]:
    with live.client() as client:
        return spec(client.transport.http)


def test_a_sweep_is_waited_for_and_its_best_is_found(live: Live, base: dict[str, Any]) -> None:
    with live.client() as client:
        made = client.sweeps.submit(base, {"T": (1, 2, 4)}, name="heat")
        assert (made.name, made.status, len(made.points), made.best_point) == ("heat", "queued", 3, None)
        worse, better, broken = (live.worker(point.job_id or "") for point in made.points)
        worse.succeed()
        better.succeed({**REPORT, "student_after": quality(0.75)})
        timer = threading.Timer(0.2, broken.fail, [ERROR])
        timer.start()
        found = client.sweeps.wait(made.id, timeout_seconds=20)
        timer.join()
        assert (found.status, found.counts["succeeded"], found.counts["failed"]) == ("failed", 2, 1)
        assert [point.error for point in found.points] == [None, None, "loss_diverged"]
        assert found.best_point is not None
        assert (found.best_point.values, found.best_point.quality) == ({"T": 2}, 0.75)
        assert next(client.sweeps.list(1)).id == made.id
        client.sweeps.delete(made.id)
        with pytest.raises(ApiError, match="no sweep"):
            client.sweeps.get(made.id)


def test_a_wait_ends_with_its_seconds_and_the_sweep_can_be_cancelled(live: Live, base: dict[str, Any]) -> None:
    with live.client() as client:
        made = client.sweeps.submit(base, {"T": [1, 2]})
        with pytest.raises(SweepTimeout, match="is still queued"):
            client.sweeps.wait(made.id, timeout_seconds=0)
        assert client.sweeps.cancel(made.id).status == "cancelled"
        assert client.sweeps.wait(made.id).is_finished


def test_a_plan_is_made_without_a_job(live: Live, base: dict[str, Any]) -> None:
    with live.client() as client:
        before = len(list(client.jobs.list()))
        plan = client.sweeps.validate(base, {"T": [1, 2], "alpha": [0.5, 0.9]})
        assert [point["trains_baseline"] for point in plan.points] == [True, False, False, False]
        with pytest.raises(ApiError) as raised:
            client.sweeps.validate(base, {"T": [0, 1]})
        assert list(raised.value.errors) == ["/grid/T/0"]
        assert len(list(client.jobs.list())) == before
