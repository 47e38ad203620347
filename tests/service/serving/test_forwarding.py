"""The serving process comes when it is needed, goes when it is not, and is missed by nobody when it dies."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from service.serving import forwarding
from tests.servers import free_port
from tests.service.live import running_service
from tests.service.served import Served, llama, serving_service, tokenizer_of, upload
from tests.worker.training.language.conftest import saved

TEXT = "/v1/completions"


def ask(http: httpx.Client, **changes: Any) -> httpx.Response:
    return http.post(TEXT, json={"model": "writer", "prompt": "Count", "max_tokens": 4, **changes}, timeout=120)


def pid_of(served: Served) -> int | None:
    own = served.live.service.serving.own
    assert own is not None
    return own.pid


def wait_until(is_so: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_lines_end_at_line_feeds_alone() -> None:
    """A model may write any character, and its text travels in a line of JSON."""

    async def read() -> list[bytes]:
        pieces = pieces_of("{a\u2028".encode(), b"b}\n{c", "\x85d}\n".encode(), b"cut")
        return [line async for line in forwarding.lines_of(pieces)]

    assert asyncio.run(read()) == ["{a\u2028b}".encode(), "{c\x85d}".encode()]


def test_it_starts_on_demand_ends_when_idle_starts_again_when_killed_and_ends_with_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_service(tmp_path, serving_idle_seconds=3) as served:
        assert pid_of(served) is None, "nobody has asked yet"
        first = ask(served.http, temperature=0)
        assert first.status_code == 200, first.text
        started = pid_of(served)
        wait_until(lambda: pid_of(served) is None)

        again = ask(served.http, temperature=0)
        assert again.json()["choices"] == first.json()["choices"]
        second = pid_of(served)
        assert second not in (None, started)

        _killed_in_the_middle(served, second)
        assert ask(served.http, temperature=0).json()["choices"] == first.json()["choices"]
        third = pid_of(served)
        assert third not in (None, second)

        assert list((tmp_path / "data" / "work").glob("serving-*")) == []
        _frozen(served, third, monkeypatch)
        assert pid_of(served) is None, "the next request starts another one"
    assert not any(psutil.pid_exists(pid) for pid in (started, second, third) if pid is not None)


def test_it_dies_with_a_service_that_is_killed(tmp_path: Path) -> None:
    """Its stdin ends: the only word that a killed process still says."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "serving", "--embedded"]
    child = subprocess.Popen(command, stdin=read, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(read)
    settings = {"data": str(tmp_path), "storage_url": (tmp_path / "blobs").as_uri()}
    os.write(write, json.dumps({"token": "x", "settings": settings}).encode() + b"\n")
    os.close(write)
    assert child.wait(60) == 0


def _killed_in_the_middle(served: Served, pid: int | None) -> None:
    """A stream says that it is not whole; its status was sent already."""
    endless = {"model": "endless", "prompt": "Count", "max_tokens": 4000, "temperature": 0, "logprobs": 0}
    assert pid is not None
    with served.http.stream("POST", TEXT, json={**endless, "stream": True}, timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        os.kill(pid, signal.SIGKILL)
        rest = [line for line in lines if line]
    assert '"code":"serving_unavailable"' in rest[-1]
    assert "[DONE]" not in rest[-1]


def _frozen(served: Served, pid: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing is given up, and killed."""
    assert pid is not None
    monkeypatch.setattr(forwarding, "SILENCE_SECONDS", 0.5)
    served.live.service.serving._http = None
    os.kill(pid, signal.SIGSTOP)
    answer = ask(served.http)
    assert (answer.status_code, answer.json()["code"]) == (503, "serving_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    served.live.service.serving._http = None


@contextmanager
def standalone(folder: Path, **settings: str) -> Iterator[int]:
    port = free_port()
    environment = {**os.environ, **{f"DISTILL_{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "serving", "--port", str(port)]
    with (folder / "serving.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield port
        finally:
            process.terminate()
            assert process.wait(15) is not None


def test_a_process_of_another_machines_is_asked_with_the_token_that_both_know(tmp_path: Path) -> None:
    data, port_of_none = tmp_path / "data", free_port()
    with standalone(tmp_path, data=str(data), serving_token="both-know-it") as port:
        url = f"http://127.0.0.1:{port}"
        with running_service(data, serving_url=url, serving_token="both-know-it") as live:
            tokenizer = tokenizer_of()
            upload(live.http, saved(tmp_path / "writer", llama(len(tokenizer)), tokenizer), "writer")
            wait_until(lambda: ask(live.http).status_code == 200, 60)
        with running_service(data, serving_url=url, serving_token="guessed") as live:
            answer = ask(live.http)
            assert (answer.status_code, answer.json()["code"]) == (503, "serving_unavailable")
            assert "DISTILL_SERVING_TOKEN" in answer.json()["detail"]
    with running_service(data, serving_url=f"http://127.0.0.1:{port_of_none}") as live:
        assert ask(live.http).status_code == 503


def test_without_a_token_no_other_address_than_loopback_is_bound() -> None:
    command = [sys.executable, "-m", "serving", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "DISTILL_SERVING_TOKEN" in done.stderr
