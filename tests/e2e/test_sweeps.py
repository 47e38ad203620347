"""Three jobs that differ in T alone: one teacher pass, one baseline, one table."""

import pytest

from distill_client import Client
from tests.e2e.conftest import Uploaded

HEARD = "The teacher has read these texts for an earlier job"
SWEEP_SECONDS = 120
QUICK = {"max_steps": 6, "batch_size": 16, "max_length": 32, "learning_rate": 1e-3}


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_sweep_pays_one_teacher_pass_and_one_baseline(client: Client, uploaded: Uploaded) -> None:
    base = uploaded.spec(teacher=uploaded.teacher, output={"model": "heat"}, training=QUICK)
    sweep = client.sweeps.wait(client.sweeps.submit(base, {"T": [1, 2, 4]}).id, SWEEP_SECONDS)
    assert sweep.status == "succeeded", [point.error for point in sweep.points]
    job_ids = [point.job_id or "" for point in sweep.points]

    said = [[event.message for event in client.jobs.events(job_id)] for job_id in job_ids]
    assert [any(HEARD in message for message in messages) for messages in said] == [False, True, True]

    reports = [client.jobs.result(job_id)["report"] for job_id in job_ids]
    alone = reports[0]["baseline"]["accuracy"]
    assert [report["baseline"] is not None for report in reports] == [True, False, False]
    for point, report in zip(sweep.points, reports, strict=True):
        after = report["student_after"]
        assert (point.quality, point.kl_to_teacher) == (after["accuracy"], after["kl_to_teacher"])
        assert (point.bytes, point.latency_ms) == (after["bytes"], after["latency_ms"])
        assert point.gain == pytest.approx(after["accuracy"] - alone)

    highest = max(report["student_after"]["accuracy"] for report in reports)
    winners = [
        job for job, report in zip(job_ids, reports, strict=True) if report["student_after"]["accuracy"] == highest
    ]
    assert sorted(sweep.front) == sorted(winners), "students of one shape differ in quality alone"
    assert sweep.best in winners
    assert sorted(model.id for model in client.models.list() if model.job in job_ids) == ["heat-1", "heat-2", "heat-3"]
