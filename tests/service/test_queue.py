"""The producer: the message that workers wait for, and no waiting for a broker that is away."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from core.wire import RUN_JOB
from service import queue as module
from service.queue import Queue
from tests.servers import free_port, running_valkey


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.usefixtures("patient")
def test_a_message_is_the_task_with_the_jobs_id_in_its_queue(valkey: str) -> None:
    queue = Queue(valkey)
    assert queue.publish("job_1", "gpu-queue")
    with redis.Redis.from_url(valkey) as client:
        message = json.loads(client.rpop("gpu-queue"))
    assert message["headers"]["task"] == RUN_JOB
    assert message["headers"]["argsrepr"] == "['job_1']"
    queue.ping()
    queue.close()


def test_a_broker_that_is_down_or_silent_is_not_waited_for(black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SKIP_SECONDS", 60)
    for url in ("redis://127.0.0.1:1/0", black_hole):
        queue = Queue(url)
        began = time.monotonic()
        assert not queue.publish("job_1", "default")
        assert time.monotonic() - began < 5
        with monkeypatch.context() as patch:
            patch.setattr(queue, "_celery", None)
            assert not queue.publish("job_2", "default"), "it is asked again at once"
        queue.close()


def test_many_at_once_wait_no_longer_than_one(black_hole: str) -> None:
    queue = Queue(black_hole)
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        assert not any(pool.map(lambda number: queue.publish(f"job_{number}", "default"), range(20)))
    assert time.monotonic() - began < 5
    queue.close()


@pytest.mark.usefixtures("patient")
def test_a_broker_that_comes_back_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SKIP_SECONDS", 0.2)
    port = free_port()
    queue = Queue(f"redis://:secret@127.0.0.1:{port}/0")
    assert not queue.publish("job_1", "default")
    with running_valkey(tmp_path, port):
        time.sleep(0.3)
        assert queue.publish("job_2", "default")
    queue.close()
    assert threading.active_count() < 50
