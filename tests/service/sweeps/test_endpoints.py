"""Sweeps over HTTP: all jobs or none, one answer for all of them."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from core import leases
from core.models import student_of
from service.sweeps.examples import SWEEP
from tests.service.live import Live
from tests.service.samples import REPORT, claimed, spec, upload_dataset, upload_model

GRID = {"T": [1, 2], "alpha": [0.5, 0.9]}


@pytest.fixture(scope="module")
def plain(http: httpx.Client) -> dict[str, Any]:
    return spec(http)


def sweep(http: httpx.Client, written: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = http.post("/v1/sweeps", json={"base": written, "grid": GRID, **changes})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def faults(http: httpx.Client, written: dict[str, Any], grid: dict[str, Any]) -> list[tuple[str, str]]:
    answer = http.post("/v1/sweeps", json={"base": written, "grid": grid})
    assert answer.status_code == 422, answer.text
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def count(http: httpx.Client) -> int:
    return len(http.get("/v1/jobs?limit=100").json()["data"])


def jobs_of(http: httpx.Client, made: dict[str, Any]) -> list[dict[str, Any]]:
    return [http.get(f"/v1/jobs/{point['job_id']}").json() for point in made["points"]]


def test_a_sweep_makes_a_job_of_each_combination(http: httpx.Client, plain: dict[str, Any]) -> None:
    answer = http.post(
        "/v1/sweeps", json={"name": "heat", "base": {**plain, "output": {"model": "small"}}, "grid": GRID}
    )
    made = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/sweeps/{made['id']}" == made["links"]["self"]
    assert (made["status"], made["counts"]["queued"], made["percent"]) == ("queued", 4, 0)
    assert [point["values"] for point in made["points"]] == [
        {"T": T, "alpha": alpha} for T in (1, 2) for alpha in (0.5, 0.9)
    ]
    jobs = jobs_of(http, made)
    assert [(job["spec"]["T"], job["spec"]["alpha"]) for job in jobs] == [(1, 0.5), (1, 0.9), (2, 0.5), (2, 0.9)]
    assert [job["name"] for job in jobs][:2] == ["heat T=1, alpha=0.5", "heat T=1, alpha=0.9"]
    assert [job["spec"]["output"]["model"] for job in jobs] == ["small-1", "small-2", "small-3", "small-4"]
    assert http.get(made["links"]["self"]).json() == made


def test_one_job_trains_the_baseline_for_all_and_the_answer_says_so(http: httpx.Client, plain: dict[str, Any]) -> None:
    made = sweep(http, plain)
    first = made["points"][0]["job_id"]
    assert [job["spec"]["evaluation"]["baseline"] for job in jobs_of(http, made)] == [True, False, False, False]
    assert {point["baseline_job_id"] for point in made["points"]} == {first}
    assert "3 of 4 jobs" in made["notes"][0]
    said = http.get(f"/v1/jobs/{made['points'][1]['job_id']}/events").json()["data"]
    assert any(first in event["message"] for event in said)
    asked = sweep(http, {**plain, "evaluation": {"baseline": True}})
    assert all(job["spec"]["evaluation"]["baseline"] for job in jobs_of(http, asked))
    assert asked["notes"] == []


def test_a_teacher_that_each_job_fine_tunes_is_noted(http: httpx.Client, plain: dict[str, Any]) -> None:
    made = sweep(http, {**plain, "teacher": {"model": plain["teacher"], "finetune": {"epochs": 1}}})
    assert any("fine-tunes its teacher anew" in note for note in made["notes"])


def test_the_example_of_the_documentation_is_accepted(http: httpx.Client) -> None:
    upload_model(http, name="my-teacher")
    base = {**SWEEP["base"], "dataset": upload_dataset(http)}  # type: ignore[dict-item]
    assert http.post("/v1/sweeps", json={**SWEEP, "base": base}).status_code == 202


@pytest.mark.parametrize(
    ("changed", "grid", "found"),
    [
        ({}, {"T": [0, 1]}, [("/grid/T/0", "invalid_value")]),
        ({"T": 0}, {"alpha": [0.1, 0.2]}, [("/base/T", "invalid_value")]),
        ({}, {"Temp": [1]}, [("/grid/Temp", "unknown_field")]),
        ({"training": {"epoch": 1}}, {"T": [1, 2]}, [("/base/training/epoch", "unknown_field")]),
        ({}, {"T": [1, 1]}, [("/grid/T", "invalid_grid")]),
        ({}, {"T": list(range(1, 66))}, [("/grid/T", "invalid_value")]),
        ({}, {"T": [1, 2, 3, 4, 5], "training.seed": list(range(13))}, [("/grid", "too_many_points")]),
        (
            {},
            {"teacher": ["nobody", "nobody-else"]},
            [("/grid/teacher/0/model", "model_not_found"), ("/grid/teacher/1/model", "model_not_found")],
        ),
        ({"dataset": "ds_none"}, {"T": [1, 2]}, [("/base/dataset/id", "dataset_not_found")]),
        ({}, {"dataset.test": [0.2, 0.95]}, [("/base/dataset", "invalid_split")]),
    ],
)
def test_a_fault_is_one_and_leaves_nothing(
    http: httpx.Client,
    plain: dict[str, Any],
    changed: dict[str, Any],
    grid: dict[str, Any],
    found: Sequence[tuple[str, str]],
) -> None:
    before = count(http)
    assert faults(http, {**plain, **changed}, grid) == list(found)
    assert count(http) == before


def test_a_field_that_is_only_in_the_grid_may_lack_in_the_base(http: httpx.Client, plain: dict[str, Any]) -> None:
    bare = {name: value for name, value in plain.items() if name != "student"}
    made = sweep(http, bare, grid={"student.from_teacher.layers": [[0, 3], [0, 1, 2]]})
    assert [job["spec"]["student"]["from_teacher"]["layers"] for job in jobs_of(http, made)] == [[0, 3], [0, 1, 2]]


def test_a_dry_run_says_what_the_jobs_would_be_and_stores_nothing(http: httpx.Client, plain: dict[str, Any]) -> None:
    before = count(http)
    answer = http.post("/v1/sweeps?dry_run=true", json={"base": plain, "grid": GRID}).json()
    assert [point["trains_baseline"] for point in answer["points"]] == [True, False, False, False]
    alone = http.post("/v1/jobs?dry_run=true", json=plain).json()["estimate"]
    assert alone["seconds"] < answer["estimate"]["seconds"] < 4 * alone["seconds"] + 1
    assert count(http) == before


def test_the_same_key_makes_one_sweep(http: httpx.Client, plain: dict[str, Any]) -> None:
    headers, body = {"Idempotency-Key": "sweep-once"}, {"base": plain, "grid": {"T": [1, 2]}}
    first, second = (http.post("/v1/sweeps", json=body, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    other = http.post("/v1/sweeps", json={**body, "grid": {"T": [1]}}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_finished_points_are_compared_and_the_rest_goes_on(live: Live, plain: dict[str, Any]) -> None:
    made = sweep(live.http, plain, grid={"T": [1, 2, 4]})
    for point, accuracy in zip(made["points"][:2], (0.7, 0.8), strict=True):
        lease = claimed(live, point["job_id"])
        with live.database.write() as session:
            after = {**REPORT["student_after"], "accuracy": accuracy}  # type: ignore[dict-item]
            leases.succeed(session, lease, {**REPORT, "student_after": after})
            session.commit()
    found = live.http.get(made["links"]["self"]).json()
    assert (found["status"], found["counts"]["succeeded"], found["percent"]) == ("running", 2, 66.7)
    assert [point["quality"] for point in found["points"]] == [0.7, 0.8, None]
    assert found["front"] == [found["best"]] == [made["points"][1]["job_id"]]


def test_a_sweep_is_cancelled_and_deleted_with_its_jobs(live: Live, plain: dict[str, Any], tmp_path: Path) -> None:
    http, made = live.http, sweep(live.http, plain, grid={"T": [1, 2]})
    here, job_id = made["links"]["self"], made["points"][0]["job_id"]
    refused = http.delete(here)
    assert (refused.status_code, refused.json()["code"]) == (409, "sweep_active")
    for _ in range(2):
        answer = http.post(f"{here}/cancel")
        assert (answer.status_code, answer.json()["status"], answer.json()["counts"]["cancelled"]) == (
            202,
            "cancelled",
            2,
        )
    (tmp_path / "log").write_text("hello")
    places = (f"jobs/{job_id}", f"models/{student_of(job_id)}")
    for place in places:
        live.service.blobs.put(f"{place}/file", tmp_path / "log")
    assert http.delete(here).status_code == 204
    assert http.get(here).json()["code"] == "sweep_not_found"
    assert http.get(f"/v1/jobs/{job_id}").status_code == 404
    assert [*chain.from_iterable(live.service.blobs.list_below(place) for place in places)] == []


def test_what_ended_by_itself_cannot_be_cancelled(live: Live, plain: dict[str, Any]) -> None:
    made = sweep(live.http, plain, grid={"T": [1]})
    lease = claimed(live, made["points"][0]["job_id"])
    with live.database.write() as session:
        leases.succeed(session, lease, REPORT)
        session.commit()
    answer = live.http.post(made["links"]["cancel"])
    assert (answer.status_code, answer.json()["code"]) == (409, "sweep_finished")
    assert live.http.get(made["links"]["self"]).json()["status"] == "succeeded"


def test_a_deleted_job_leaves_its_line(live: Live, plain: dict[str, Any]) -> None:
    made = sweep(live.http, plain, grid={"T": [1, 2]})
    live.http.post(made["links"]["cancel"])
    live.http.delete(f"/v1/jobs/{made['points'][0]['job_id']}")
    found = live.http.get(made["links"]["self"]).json()
    assert [(point["job_id"] is None, point["status"]) for point in found["points"]] == [
        (True, None),
        (False, "cancelled"),
    ]
    assert (found["counts"]["deleted"], found["status"]) == (1, "cancelled")


def test_pages_walk_every_sweep_once(http: httpx.Client, plain: dict[str, Any]) -> None:
    made = [sweep(http, plain, grid={"T": [1, 2]})["id"] for _ in range(3)]
    first = http.get("/v1/sweeps?limit=2").json()
    assert [one["id"] for one in first["data"]] == made[:0:-1]
    assert "points" not in first["data"][0]
    second = http.get(f"/v1/sweeps?limit=1&after={first['last_id']}").json()
    assert [one["id"] for one in second["data"]] == made[:1]
    assert http.get("/v1/sweeps?after=sweep_x").status_code == 400
