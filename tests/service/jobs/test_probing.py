"""A server is asked once, at POST, whether it tells its likeliest tokens; one that is not heard is the worker's."""

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.deps import PROBES_AT_ONCE
from service.jobs import probing
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


def test_a_packed_answer_is_not_unpacked(http: httpx.Client, job: dict[str, Any]) -> None:
    answer = gzip.compress(gzip.compress(json.dumps(completion("ready")).encode()))
    packed = Fault(body=answer, headers=(("Content-Encoding", "gzip, gzip"),))
    with misbehaving(lambda *_: packed) as server:
        assert asked(http, job, server.url) == []
        assert server.headers[0]["Accept-Encoding"] == "identity"


def test_servers_that_do_not_answer_keep_nobody_else_waiting(
    http: httpx.Client, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(probing, "MOST_SECONDS", 60.0)
    looked = threading.Event()

    def silent(*_: Any) -> Fault:
        looked.wait(60)
        return CUT

    with misbehaving(silent) as server, ThreadPoolExecutor(45) as clients:
        waiting = [clients.submit(asked, http, job, server.url) for _ in range(45)]
        try:
            deadline = time.monotonic() + 30
            while server.busy < PROBES_AT_ONCE:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert http.get("/v1/jobs").status_code == 200
            assert not any(answer.done() for answer in waiting)
            assert server.most_busy == PROBES_AT_ONCE
        finally:
            looked.set()
        assert [answer.result() for answer in waiting] == [[]] * 45


def test_a_server_that_answers_a_byte_at_a_time_is_given_up(
    http: httpx.Client, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "MOST_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as slow:
        ended = threading.Event()
        slow.settimeout(60)

        def drip() -> None:
            with suppress(OSError), slow.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.1):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        assert asked(http, job, f"http://127.0.0.1:{slow.getsockname()[1]}/v1") == []
        assert time.monotonic() - began < 10
        ended.set()
        thread.join()
