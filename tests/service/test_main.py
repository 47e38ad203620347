"""The process: starts fast and small, refuses what is unsafe, stops when told."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from core.settings import Settings
from migrations.revisions import upgrade
from service.main import DRAIN_SECONDS
from tests.service.samples import submit

START_SECONDS = 60.0
MEMORY_BYTES = 150 << 20


@contextmanager
def started(data: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service process that has said where it listens."""
    with process(data, **environment) as service:
        assert service.stdout is not None
        line = service.stdout.readline()
        found = re.fullmatch(r"distillation service at (http://\S+)\n", line)
        assert found, line
        yield service, found[1]


@contextmanager
def process(
    data: Path, module: str = "service", *arguments: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    everything = {**os.environ, "DISTILL_DATA": str(data), "DISTILL_PORT": "0", **environment}
    everything.setdefault("DISTILL_BROKER_URL", "redis://127.0.0.1:1/0")
    command = [sys.executable, "-m", module, *arguments]
    running = subprocess.Popen(command, env=everything, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    upgrade(Settings(data=tmp_path).database)
    return tmp_path


def test_it_starts_serves_and_stops(data: Path) -> None:
    with started(data) as (service, url), httpx.Client(base_url=url) as http:
        assert http.get("/healthz").json() == {"status": "ok"}
        resident = Path(f"/proc/{service.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        assert int(resident) * 1024 < MEMORY_BYTES
        assert submit(http)
        service.terminate()
        assert service.wait(START_SECONDS) == 0
    assert list((data / "work").iterdir()) == []


def test_it_drains_in_seconds_though_a_stream_is_open(data: Path) -> None:
    with started(data) as (service, url), httpx.Client(base_url=url) as http:
        job_id = submit(http)

        follows = threading.Event()

        def follow() -> None:
            with httpx.stream("GET", f"{url}/v1/jobs/{job_id}/stream", timeout=60) as response:
                for _ in response.iter_lines():
                    follows.set()

        reader = threading.Thread(target=follow)
        reader.start()
        assert follows.wait(START_SECONDS)
        began = time.monotonic()
        service.send_signal(signal.SIGTERM)
        service.wait(60)
        reader.join(60)
        assert time.monotonic() - began < DRAIN_SECONDS, "it waited for who reads"
        assert not reader.is_alive()


def test_half_an_upload_of_a_killed_process_is_cleaned_up(data: Path) -> None:
    left = data / "work" / "upload-killed"
    left.mkdir(parents=True)
    (left / "content").write_bytes(b"half")
    with started(data) as (_, url):
        assert httpx.get(f"{url}/v1/datasets").json()["data"] == []
        assert not left.exists()


def refusal(data: Path, **environment: str) -> str:
    with process(data, **environment) as service:
        _, said = service.communicate(timeout=START_SECONDS)
        assert service.returncode == 1
        return said


def test_it_refuses_a_database_that_is_behind_with_the_command_to_run(tmp_path: Path) -> None:
    assert "run `python -m migrations`" in refusal(tmp_path)


def test_it_refuses_to_be_reached_by_others_without_a_key(data: Path) -> None:
    assert "python -m service.keys create" in refusal(data, DISTILL_HOST="0.0.0.0")


def test_a_bootstrap_key_opens_it_once(data: Path) -> None:
    secret = "dk_" + "b" * 43
    with started(data, DISTILL_HOST="0.0.0.0", DISTILL_BOOTSTRAP_KEY=secret) as (_, url):
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/jobs").status_code == 401
        mine = {"Authorization": f"Bearer {secret}"}
        assert httpx.get(f"{url}/v1/api-keys", headers=mine).json()["data"][0]["owner"] == "admin"
    other = "dk_" + "c" * 43
    with started(data, DISTILL_HOST="0.0.0.0", DISTILL_BOOTSTRAP_KEY=other) as (_, url):
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {other}"}).status_code == 401


def test_the_key_tool_prints_a_key_that_works(data: Path) -> None:
    with process(data, "service.keys", "create", "--owner", "ann", "--scope", "read") as tool:
        secret, _ = tool.communicate(timeout=START_SECONDS)
    with started(data) as (_, url):
        mine = {"Authorization": f"Bearer {secret.strip()}"}
        assert httpx.get(f"{url}/v1/jobs", headers=mine).status_code == 200
        assert httpx.post(f"{url}/v1/jobs", headers=mine, json={}).status_code == 403
        assert httpx.get(f"{url}/v1/jobs").status_code == 401


def test_torch_and_its_kind_stay_out(data: Path) -> None:
    check = "import sys, service.main; print(sorted({'torch', 'transformers', 'pandas', 'worker'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
