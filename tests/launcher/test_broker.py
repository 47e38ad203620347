"""The embedded broker answers on loopback, to those who know its password, and forgets nothing when it is restarted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from launcher.broker import EmbeddedBroker, embedded_broker
from tests.servers import wait_for_valkey


@contextmanager
def running(broker: EmbeddedBroker) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen(broker.command, stdout=subprocess.DEVNULL)
    try:
        wait_for_valkey(broker.url)
        yield server
    finally:
        server.terminate()
        server.wait(10)


def test_the_broker_answers_to_its_password_alone(tmp_path: Path) -> None:
    broker = embedded_broker(tmp_path / "a folder")
    with running(broker), redis.Redis.from_url(broker.url) as client:
        assert client.ping()
        port = client.connection_pool.connection_kwargs["port"]
        with redis.Redis("127.0.0.1", port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_the_password_is_in_no_process_list_and_its_file_is_ours_alone(tmp_path: Path) -> None:
    broker = embedded_broker(tmp_path)
    password = broker.url.split(":")[2].split("@")[0]
    with running(broker) as server:
        assert password not in " ".join(psutil.Process(server.pid).cmdline())
    assert (tmp_path / "valkey.conf").stat().st_mode & 0o777 == 0o600
    assert embedded_broker(tmp_path).url != broker.url


def test_the_broker_listens_on_loopback_alone(tmp_path: Path) -> None:
    with running(embedded_broker(tmp_path)) as server:
        listening = [
            found.laddr.ip
            for found in psutil.Process(server.pid).net_connections()
            if found.status == psutil.CONN_LISTEN
        ]
    assert listening == ["127.0.0.1"]


def test_a_message_outlives_the_broker(tmp_path: Path) -> None:
    broker = embedded_broker(tmp_path)
    with running(broker), redis.Redis.from_url(broker.url) as client:
        client.lpush("default", "job_1")
    broker = embedded_broker(tmp_path)
    with running(broker), redis.Redis.from_url(broker.url) as client:
        assert client.lrange("default", 0, -1) == [b"job_1"]
