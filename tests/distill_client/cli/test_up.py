import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distill_client import Client
from distill_client.cli.failures import CommandFailed
from distill_client.cli.up import require_launcher
from distill_client.embedded import ServiceNotStarted, embedded_service
from tests.servers import free_port


@contextmanager
def up(folder: Path, *options: str, **settings: str) -> Iterator[str]:
    """Yield the URL at which `distill up` says that it is; it ends well after Ctrl-C."""
    command = [sys.executable, "-c", "from distill_client.cli import main; main()", "up", *options]
    output = folder / "up.txt"
    with output.open("wb") as file:
        tree = subprocess.Popen(
            [*command, "--data", str(folder / "data")],
            env={**os.environ, "DISTILL_READY_CHILD": "false", **settings},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while "http://" not in output.read_text():
            assert time.monotonic() < deadline
            assert tree.poll() is None, output.read_text()
            time.sleep(0.1)
        yield next(word.rstrip(";,") for word in output.read_text().split() if word.startswith("http://"))
    finally:
        tree.send_signal(signal.SIGINT)
        assert tree.wait(40) == 0


def test_up_runs_the_service_until_ctrl_c(tmp_path: Path) -> None:
    with up(tmp_path, "--port", "0") as url, Client(url) as client:
        assert client.readiness() == {"database": "ok", "broker": "ok", "storage": "ok"}


def test_what_no_option_says_the_settings_say(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, DISTILL_HOST="localhost", DISTILL_PORT=str(port)) as url, Client(url) as client:
        assert url == f"http://localhost:{port}"
        assert client.readiness()["database"] == "ok"


def test_an_embedded_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(ServiceNotStarted, match="data"), embedded_service(tmp_path):
        raise AssertionError("there is no service")


def test_a_client_alone_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_client.cli.up.find_spec", lambda room: None if room == "worker" else object())
    with pytest.raises(CommandFailed, match="lacks worker") as refused:
        require_launcher()
    assert "--constraint constraints.txt '.[" in (refused.value.hint or "")
