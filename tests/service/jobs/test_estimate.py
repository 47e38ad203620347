"""Estimates: more work takes more, and what finished jobs measured is believed."""

import re
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import update

from core.tables import Job
from tests.service.live import Live, running_service
from tests.service.samples import finished, lines, spec, upload_dataset, upload_writer


def estimate(http: httpx.Client, body: dict[str, Any], **changes: Any) -> dict[str, float]:
    answer = http.post("/v1/jobs?dry_run=true", json={**body, **changes})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["estimate"])


def test_more_work_takes_more(http: httpx.Client) -> None:
    body = spec(http, student={"config": {"model_type": "bert", "hidden_size": 512, "num_hidden_layers": 6}})
    once = estimate(http, body, training={"epochs": 100})
    twice = estimate(http, body, training={"epochs": 200})
    assert twice["seconds"] > once["seconds"]
    alone = estimate(http, body, training={"epochs": 200}, evaluation={"baseline": False})
    assert alone["seconds"] < twice["seconds"]
    larger = {"config": {"model_type": "bert", "hidden_size": 1024, "num_hidden_layers": 6}}
    grown = estimate(http, body, student=larger, training={"epochs": 100})
    assert all(grown[part] > once[part] for part in ("seconds", "peak_memory_bytes", "disk_bytes"))


def test_longer_completions_take_more(http: httpx.Client) -> None:
    teacher, student = upload_writer(http), {"config": {"model_type": "llama", "hidden_size": 1024}}
    short = [{"prompt": "a" * 40, "completion": "b" * 40} for _ in range(40)]
    long = [{**row, "completion": "b" * 400} for row in short]
    seconds = []
    for rows in (short, long):
        written = {"teacher": teacher, "student": student, "dataset": upload_dataset(http, lines(*rows))}
        seconds.append(estimate(http, written, training={"epochs": 100}, resources={"max_minutes": 40_000})["seconds"])
    assert 3 * seconds[0] < seconds[1] < 6 * seconds[0]


def test_a_teacher_that_vllm_reads_lies_on_the_disk_twice(http: httpx.Client) -> None:
    rows = [{"prompt": "a" * 40, "completion": "b" * 40} for _ in range(40)]
    student = {"config": {"model_type": "llama", "hidden_size": 16}}
    body = {"teacher": upload_writer(http), "student": student, "dataset": upload_dataset(http, lines(*rows))}
    once, twice = (
        estimate(http, body, method={"type": "sequence", "generation": {"engine": engine}})["disk_bytes"]
        for engine in ("transformers", "vllm")
    )
    assert twice > once


def test_an_estimate_never_exceeds_what_the_job_may_run_and_says_what_it_would_take(http: httpx.Client) -> None:
    body = spec(http, resources={"max_minutes": 1}, training={"epochs": 10_000, "max_steps": 100_000_000})
    planned = http.post("/v1/jobs?dry_run=true", json=body).json()
    assert planned["estimate"]["seconds"] == 60
    [said] = planned["warnings"]
    found = re.fullmatch(r"About ([\d,]+) minutes are estimated, and resources.max_minutes ends the job after 1.", said)
    assert found
    assert int(found[1].replace(",", "")) > 1
    assert http.post("/v1/jobs", json=body).json()["warnings"] == [said]
    sweep = {"base": body, "grid": {"alpha": [0.5, 0.9]}}
    assert said in http.post("/v1/sweeps?dry_run=true", json=sweep).json()["notes"]
    short = http.post("/v1/jobs?dry_run=true", json={**body, "training": {"max_steps": 1}}).json()
    assert short["warnings"] == []


def test_what_jobs_really_took_moves_the_next_estimate(tmp_path: Path) -> None:
    with running_service(tmp_path / "data") as live:
        body = spec(live.http, training={"max_steps": 100_000})
        assumed = estimate(live.http, body)["seconds"]
        _took(live, tmp_path, body, seconds=100_000)
        slow = estimate(live.http, body)["seconds"]
        assert slow > assumed
        for _ in range(2):
            _took(live, tmp_path, body, seconds=9)
        assert estimate(live.http, body)["seconds"] < slow


def _took(live: Live, folder: Path, body: dict[str, Any], seconds: float) -> None:
    job_id = finished(live, {}, folder, **body)
    with live.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(seconds_run=seconds))
        session.commit()
