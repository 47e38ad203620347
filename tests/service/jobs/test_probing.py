"""A server is asked once, at POST, whether it tells its likeliest tokens; one that is not heard is the worker's."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.misbehaving import CUT, GARBAGE, RESET, Decide, Fault, completion, misbehaving, refusing, saying
from tests.service.live import running_service
from tests.service.samples import lines, upload_dataset, upload_writer

REFUSED = [("/teacher/endpoint/logprobs", "no_logprobs")]


@pytest.fixture(scope="module")
def job(http: httpx.Client) -> dict[str, Any]:
    http.post("/v1/secrets", json={"name": "vendor", "value": "sk-value-of-the-vendor"})
    dataset = upload_dataset(http, lines(*({"prompt": f"What is {n}?"} for n in range(20))))
    return {"student": upload_writer(http), "dataset": dataset, "method": {"type": "sequence"}}


def asked(http: httpx.Client, job: dict[str, Any], url: str, **more: Any) -> list[tuple[str, str]]:
    """The faults of a job; none where it is taken."""
    endpoint = {"base_url": url, "model": "m", "logprobs": 3, **more}
    answer = http.post("/v1/jobs?dry_run=true", json={**job, "teacher": {"endpoint": endpoint}})
    assert answer.status_code in (200, 422), answer.text
    assert "sk-value" not in answer.text
    return [(fault["pointer"], fault["code"]) for fault in answer.json().get("errors", [])]


def telling(*_: Any) -> Any:
    answer = completion("ready")
    places = [{"token": "token_id:7", "logprob": -0.1, "top_logprobs": [{"token": "token_id:7", "logprob": -0.1}]}]
    answer["choices"][0]["logprobs"] = {"content": places}
    return saying(answer)


def test_a_server_that_tells_none_is_refused_with_field_and_reason(http: httpx.Client, job: dict[str, Any]) -> None:
    with misbehaving(lambda *_: saying(completion("ready"))) as server:
        assert asked(http, job, server.url) == REFUSED
        assert len(server.calls) == 1
        assert server.calls[0]["top_logprobs"] == 3
        assert server.calls[0]["max_tokens"] == 1


def test_a_server_that_tells_them_is_taken_and_gets_the_secret(http: httpx.Client, job: dict[str, Any]) -> None:
    with misbehaving(telling) as server:
        assert asked(http, job, server.url, secret="vendor") == []
        assert server.headers[0]["Authorization"] == "Bearer sk-value-of-the-vendor"


def test_a_server_that_knows_no_ids_by_that_name_is_asked_without(http: httpx.Client, job: dict[str, Any]) -> None:
    def decide(_: int, body: dict[str, Any]) -> Any:
        return refusing(400, "no return_tokens_as_token_ids") if "return_tokens_as_token_ids" in body else telling()

    with misbehaving(decide) as server:
        assert asked(http, job, server.url) == []
        assert len(server.calls) == 2


@pytest.mark.parametrize(
    "decide",
    [
        lambda *_: refusing(400, "there is no model m"),
        lambda *_: refusing(401),
        lambda *_: refusing(503),
        lambda *_: refusing(503, "return_tokens_as_token_ids"),
        lambda *_: RESET,
        lambda *_: CUT,
        lambda *_: GARBAGE,
        lambda *_: Fault(body=b"[" * 100_000),
        lambda *_: saying({"choices": []}),
        lambda *_: saying({"choices": ["text"]}),
        lambda *_: saying(completion("")),
    ],
    ids=[
        "400",
        "401",
        "503",
        "503 with a name in it",
        "reset",
        "cut",
        "garbage",
        "nested without end",
        "no choice",
        "no message",
        "no text",
    ],
)
def test_what_does_not_answer_is_asked_once_and_left_to_the_worker(
    http: httpx.Client, job: dict[str, Any], decide: Decide
) -> None:
    with misbehaving(decide) as server:
        assert asked(http, job, server.url) == []
        assert len(server.calls) == 1


def test_nobody_is_asked_where_nothing_is_wanted_or_nothing_may_be_called(
    http: httpx.Client, job: dict[str, Any], tmp_path: Path
) -> None:
    with misbehaving(telling) as server:
        assert asked(http, job, server.url, logprobs=None) == []
        with running_service(tmp_path, endpoints="public") as live:
            refusals = asked(live.http, {**job, "student": "nobody", "dataset": "ds_none"}, server.url)
        assert ("/teacher/endpoint/base_url", "endpoint_not_allowed") in refusals
        assert asked(http, job, "http://127.0.0.1:9/v1") == []
        assert server.calls == []
