"""The whole service as its operator runs it: in one process tree, or as processes that share nothing but URLs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from cryptography.fernet import Fernet

from distill_client import Client
from migrations.revisions import upgrade
from tests.servers import free_port, make_postgres_database, words_of

STARTUP_SECONDS = 60


@dataclass
class Stack:
    """A running service. `parts` are its processes by name, where they are ours to stop one by one. Its files lie
    below `data`."""

    url: str
    root: int
    data: Path
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def client(self) -> Client:
        return Client(self.url)

    def training_child(self, job_id: str) -> psutil.Process | None:
        """The process that trains the job, wherever in the stack it is."""
        roots = [self.root, *(part.pid for part in self.parts.values() if part.poll() is None)]
        for root in roots:
            for process in psutil.Process(root).children(recursive=True):
                if words_of(process)[-2:] == ["worker.run", job_id]:
                    return process
        return None

    def start(self, name: str, *module: str) -> None:
        """Start a part, or start it again."""
        command = [sys.executable, "-m", *module]
        self.parts[name] = subprocess.Popen(command, env=self.environment)


def environment_of(data: Path, **urls: str) -> dict[str, str]:
    # Short leases, so that a lost worker is found while a test waits.
    quick = {
        "DISTILL_LEASE_SECONDS": "6",
        "DISTILL_SWEEP_SECONDS": "1",
        "DISTILL_REPUBLISH_SECONDS": "5",
        "DISTILL_HUB": "false",
        # A child that was started for its job names it in its command line, so that a test can find and kill it.
        "DISTILL_READY_CHILD": "false",
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **quick, "DISTILL_DATA": str(data), **urls}


@contextmanager
def embedded(folder: Path) -> Iterator[Stack]:
    """`distill up`: SQLite, a Valkey of its own, a folder."""
    ready = folder / "ready.json"
    command = [
        sys.executable,
        "-m",
        "launcher",
        "--port",
        "0",
        "--data",
        str(folder / "data"),
        "--ready-file",
        str(ready),
    ]
    root = subprocess.Popen(command, env=environment_of(folder / "data"))
    try:
        deadline = time.monotonic() + STARTUP_SECONDS
        while not ready.exists():
            assert root.poll() is None, "the launcher ended before it was ready"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Stack(json.loads(ready.read_text())["url"], root.pid, folder)
    finally:
        children = psutil.Process(root.pid).children(recursive=True) if root.poll() is None else []
        root.terminate()
        root.wait(60)
        _, left = psutil.wait_procs(children, timeout=10)
        assert not left, f"left behind: {left}"


@contextmanager
def distributed(folder: Path, postgres: str, valkey: str) -> Iterator[Stack]:
    """PostgreSQL and Valkey by URL; service, worker and sweeper as processes of their own."""
    port, database_url = free_port(), make_postgres_database(postgres)
    upgrade(database_url)
    environment = environment_of(
        folder / "data",
        DISTILL_DATABASE_URL=database_url,
        DISTILL_BROKER_URL=valkey,
        DISTILL_STORAGE_URL=(folder / "blobs").as_uri(),
        DISTILL_PORT=str(port),
        DISTILL_SECRET_KEY=Fernet.generate_key().decode(),
        DISTILL_ENDPOINTS=f"http://127.0.0.1:{port}/v1",
    )
    stack = Stack(f"http://127.0.0.1:{port}", os.getpid(), folder, {}, environment)
    try:
        stack.start("service", "service")
        stack.start("worker", "worker")
        stack.start("sweeper", "worker.sweeper")
        wait_until_ready(stack.url)
        yield stack
    finally:
        for part in stack.parts.values():
            part.terminate()
        for part in stack.parts.values():
            part.wait(60)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)
