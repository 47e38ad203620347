"""Alive, ready, counted."""

import time
from pathlib import Path

import httpx
import pytest

from core.tables import Worker
from tests.service.live import Live, running_service
from tests.service.samples import submit


@pytest.mark.usefixtures("patient")
def test_ready_means_that_all_three_answer(valkey: str, tmp_path: Path) -> None:
    with running_service(tmp_path, broker_url=valkey) as live:
        answer = live.http.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"database": "ok", "broker": "ok", "storage": "ok"})


def test_a_part_that_is_away_is_named_in_time(http: httpx.Client) -> None:
    began = time.monotonic()
    answer = http.get("/readyz")
    assert time.monotonic() - began < 10
    assert answer.status_code == 503
    assert answer.json()["broker"] != "ok"
    assert (answer.json()["database"], answer.json()["storage"]) == ("ok", "ok")
    assert http.get("/healthz").status_code == 200


def test_requests_are_counted_by_route_and_jobs_by_status(http: httpx.Client) -> None:
    job_id = submit(http)
    http.get(f"/v1/jobs/{job_id}")
    http.get("/v1/nothing-here")
    text = http.get("/metrics").text
    assert 'distill_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"} 1.0' in text
    assert 'route="(no route)",status="404"} 1.0' in text
    assert job_id not in text
    assert 'distill_jobs{status="queued"} 1.0' in text
    assert 'distill_jobs{status="failed"} 0.0' in text


def test_the_system_shows_workers_and_queues(live: Live) -> None:
    with live.database.write() as session:
        session.add(Worker(name="w1", queues=["default"], devices=[{"name": "cpu"}], versions={"torch": "2"}))
        session.commit()
    system = live.http.get("/v1/system").json()
    (worker,) = system["workers"]
    assert (worker["name"], worker["devices"]) == ("w1", [{"name": "cpu"}])
    assert 0 <= worker["heartbeat_age_seconds"] < 5
    assert system["queues"] == [{"name": "default", "queued": 1, "running": 0}]
    assert system["revision"]
    assert "python" in system["versions"]
