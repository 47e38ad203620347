"""A teacher behind an endpoint is refused for what can be known without calling it; what it may cost is said."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.live import Live, running_service
from tests.service.samples import lines, upload_dataset, upload_writer

SERVER: dict[str, Any] = {"base_url": "http://127.0.0.1:9/v1", "model": "large"}
PROMPTS = [{"prompt": f"What is {n:04}?"} for n in range(1000)]
PRICES = {"price_per_million_prompt_tokens": 1.0, "price_per_million_completion_tokens": 2.0}


@pytest.fixture(scope="module")
def job(http: httpx.Client) -> dict[str, Any]:
    student, dataset = upload_writer(http), upload_dataset(http, lines(*PROMPTS))
    http.post("/v1/secrets", json={"name": "vendor", "value": "sk-value-of-the-vendor"})
    generation = {"max_new_tokens": 100, "samples_per_prompt": 2}
    return {"student": student, "dataset": dataset, "method": {"type": "sequence", "generation": generation}}


def asked(http: httpx.Client, job: dict[str, Any], server: dict[str, Any] = SERVER, **more: Any) -> httpx.Response:
    return http.post("/v1/jobs?dry_run=true", json={**job, "teacher": {"endpoint": {**server, **more}}})


def faults(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    assert all(fault["hint"] for fault in answer.json()["errors"])
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def test_a_job_is_taken_with_every_default_and_without_the_secrets_value(
    http: httpx.Client, job: dict[str, Any]
) -> None:
    answer = http.post("/v1/jobs", json={**job, "teacher": {"endpoint": {**SERVER, "secret": "vendor"}}})
    assert answer.status_code == 202, answer.text
    assert "sk-value" not in answer.text
    told = answer.json()
    assert told["spec"]["task"] == "text-generation"
    assert told["spec"]["teacher"]["endpoint"] == {
        **SERVER,
        "secret": "vendor",
        "concurrency": 8,
        "timeout_seconds": 120.0,
        "max_retries": 5,
        "min_success_ratio": 0.95,
        "logprobs": None,
        "budget": dict.fromkeys(("max_tokens", "max_requests", "max_cost", *PRICES)),
    }
    assert told["estimate"]["cost"] is None
    assert http.get(f"/v1/jobs/{told['id']}").json()["spec"] == told["spec"]


def test_a_secret_that_is_not_there_is_named(http: httpx.Client, job: dict[str, Any]) -> None:
    assert faults(asked(http, job, secret="nobody")) == [("/teacher/endpoint/secret", "secret_not_found")]


def test_a_budget_below_one_text_is_refused(http: httpx.Client, job: dict[str, Any]) -> None:
    place = "/teacher/endpoint/budget"
    assert faults(asked(http, job, budget={"max_tokens": 100})) == [(f"{place}/max_tokens", "budget_too_small")]
    tiny = {"max_cost": 1e-6, **PRICES}
    assert faults(asked(http, job, budget=tiny)) == [(f"{place}/max_cost", "budget_too_small")]
    assert faults(asked(http, job, budget={"max_cost": 1.0})) == [(place, "budget_without_price")]


def test_the_cost_is_told_beforehand_and_never_more_than_the_budget(http: httpx.Client, job: dict[str, Any]) -> None:
    texts = 2 * len(PROMPTS)
    told = asked(http, job, budget=PRICES).json()["estimate"]["cost"]
    written = texts * 100 * 2.0 / 1e6
    assert written < told < written + texts * 20 * 1.0 / 1e6
    assert asked(http, job, budget={**PRICES, "max_cost": 0.1}).json()["estimate"]["cost"] == 0.1


def test_what_goes_in_the_clear_is_said(http: httpx.Client, job: dict[str, Any]) -> None:
    assert asked(http, job).status_code == 200
    assert not [one for one in asked(http, job).json()["warnings"] if "http" in one]
    away = asked(http, job, {**SERVER, "base_url": "http://10.0.0.7:8000/v1"}, secret="vendor").json()["warnings"]
    assert any("prompts, texts and the secret can be read on the way" in one for one in away)
    safe = asked(http, job, {**SERVER, "base_url": "https://10.0.0.7/v1"}, secret="vendor").json()["warnings"]
    assert not [one for one in safe if "read on the way" in one]


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:9/v1", "http://2130706433", "http://[::ffff:127.0.0.1]", "http://metadata/latest"]
)
def test_where_others_reach_the_service_what_is_inside_is_refused(tmp_path: Path, base_url: str) -> None:
    with running_service(tmp_path, endpoints="public") as live:
        assert _refusals(live, base_url) == [("/teacher/endpoint/base_url", "endpoint_not_allowed")]
        assert _refusals(live, "https://api.example.com/v1") == []


def _refusals(live: Live, base_url: str) -> list[tuple[str, str]]:
    job = {
        "student": "nobody",
        "dataset": "ds_nothing",
        "method": {"type": "sequence"},
        "teacher": {"endpoint": {"base_url": base_url, "model": "m"}},
    }
    answer = live.http.post("/v1/jobs?dry_run=true", json=job)
    return [found for found in faults(answer) if found[0].startswith("/teacher")]


def test_what_likeliest_tokens_cannot_be_told_of_is_refused(http: httpx.Client, job: dict[str, Any]) -> None:
    def told(**method: Any) -> httpx.Response:
        return asked(http, {**job, "method": {"type": "sequence", **method}}, logprobs=5)

    assert told().json()["spec"]["teacher"]["endpoint"]["logprobs"] == 5
    assert faults(told(keep_reasoning=False)) == [("/method/keep_reasoning", "black_box_teacher")]
    assert faults(told(generation={"chat": False})) == [("/method/generation/chat", "black_box_teacher")]


def test_the_loss_tells_whether_alpha_plays_a_part(http: httpx.Client, job: dict[str, Any]) -> None:
    for logprobs, alpha in ((None, None), (5, 0.5)):
        answer = http.post("/v1/jobs", json={**job, "teacher": {"endpoint": {**SERVER, "logprobs": logprobs}}})
        assert (answer.json()["loss"]["alpha"], answer.json()["loss"]["T"]) == (alpha, None)
