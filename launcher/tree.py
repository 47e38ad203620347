"""One machine's process tree: broker, migrations, service, workers, sweeper. One that dies is started again."""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from core.settings import Settings
from launcher.broker import embedded_broker, free_port
from launcher.stopping import StopRequest

STARTUP_SECONDS = 60.0
LOOK_SECONDS = 0.5
RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
PR_SET_PDEATHSIG = 1


class FolderInUse(Exception):
    def __str__(self) -> str:
        return f"another `distill up` runs on {self.args[0]}: stop it, or choose another --data"


@dataclass
class Part:
    """A process of the tree and how often it has died."""

    name: str
    command: list[str]
    grace_seconds: float
    running: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    restart_at: float = 0.0


@dataclass
class Tree:
    host: str
    port: int
    data: Path
    workers: int
    ready_file: Path | None
    settings: Settings
    should_stop: StopRequest = field(default_factory=StopRequest)

    def run(self) -> int:
        """Start everything, stay until Ctrl-C or SIGTERM, stop everything. Returns the exit code."""
        self.data.mkdir(parents=True, exist_ok=True)
        lock = _lock(self.data)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.should_stop.ask())
        self.port = self.port or free_port(self.host)
        parts, environment = self._plan()
        try:
            for part in parts:
                if part.name == "service":
                    self._migrate(environment)
                self._start(part, environment)
            if not self._wait_until_ready(parts):
                return 0 if self.should_stop.is_made() else 1
            self._say_ready()
            self._watch(parts, environment)
            return 0
        finally:
            _stop(parts)
            if self.ready_file is not None:
                self.ready_file.unlink(missing_ok=True)
            lock.close()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _plan(self) -> tuple[list[Part], dict[str, str]]:
        """The parts in the order in which they start, and the environment that makes them one service."""
        environment = {
            **os.environ,
            "DISTILL_DATA": str(self.data),
            "DISTILL_HOST": self.host,
            "DISTILL_PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
        }
        parts = []
        if self.settings.broker_url is None:
            broker = embedded_broker(self.data / "broker")
            environment["DISTILL_BROKER_URL"] = broker.url
            parts.append(Part("broker", broker.command, 5))
        python = [sys.executable, "-m"]
        parts.append(Part("service", [*python, "service"], 10))
        grace = self.settings.shutdown_grace_seconds + 5
        parts += [Part(f"worker-{place + 1}", [*python, "worker"], grace) for place in range(self.workers)]
        parts.append(Part("sweeper", [*python, "worker.sweeper"], 5))
        return parts, environment

    def _migrate(self, environment: dict[str, str]) -> None:
        with self._log("migrations") as log:
            command = [sys.executable, "-m", "migrations"]
            done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise SystemExit(
                f"error: the database could not be brought up to date, see {self.data / 'logs/migrations.log'}"
            )

    def _start(self, part: Part, environment: dict[str, str]) -> None:
        with self._log(part.name) as log:
            # A session of its own keeps the terminal's Ctrl-C from it: we stop the parts in order.
            part.running = subprocess.Popen(
                part.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _log(self, name: str) -> IO[bytes]:
        (self.data / "logs").mkdir(exist_ok=True)
        return (self.data / "logs" / f"{name}.log").open("ab")

    def _wait_until_ready(self, parts: list[Part]) -> bool:
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self.should_stop.is_made():
            if _answers(f"http://{_reachable(self.host)}:{self.port}/readyz"):
                return True
            dead = next((part for part in parts if part.running and part.running.poll() is not None), None)
            if dead is not None or time.monotonic() > deadline:
                self._say_why_not(dead or parts[0])
                return False
            time.sleep(0.1)
        return False

    def _say_ready(self) -> None:
        if self.ready_file is not None:
            written = self.ready_file.with_name(self.ready_file.name + ".part")
            written.write_text(json.dumps({"url": self.url, "pid": os.getpid()}))
            written.replace(self.ready_file)
        workers = f"{self.workers} worker{'s' if self.workers != 1 else ''}"
        _say(f"distillation service at {self.url} with {workers}; API at {self.url}/docs; data in {self.data}")
        _say("Ctrl-C stops all of it")

    def _say_why_not(self, part: Part) -> None:
        log = self.data / "logs" / f"{part.name}.log"
        lines = log.read_text(errors="replace").strip().splitlines()[-5:]
        _say(f"error: {part.name} did not start. The end of {log}:\n" + "\n".join(f"  {line}" for line in lines))

    def _watch(self, parts: list[Part], environment: dict[str, str]) -> None:
        while not self.should_stop.wait(LOOK_SECONDS):
            for part in parts:
                if part.running is not None and part.running.poll() is not None:
                    wait = RESTART_SECONDS[min(part.deaths, len(RESTART_SECONDS) - 1)]
                    _say(f"{part.name} ended with {part.running.returncode}; starting it again in {wait:g} s")
                    part.running, part.deaths, part.restart_at = None, part.deaths + 1, time.monotonic() + wait
                if part.running is None and time.monotonic() >= part.restart_at:
                    self._start(part, environment)


def _stop(parts: list[Part]) -> None:
    """Stop in reverse order, the broker last; kill what outlives its grace."""
    ordered = [part for part in parts if part.name != "broker"] + [part for part in parts if part.name == "broker"]
    for group in (ordered[:-1], ordered[-1:]):
        for part in group:
            if part.running is not None:
                part.running.terminate()
        for part in group:
            if part.running is None:
                continue
            try:
                part.running.wait(part.grace_seconds)
            except subprocess.TimeoutExpired:
                _say(f"killing {part.name}: it did not stop within {part.grace_seconds:g} s")
                part.running.kill()
                part.running.wait()


def _lock(folder: Path) -> IO[bytes]:
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise FolderInUse(folder) from None
    return lock


def _die_with_parent() -> None:
    """If the tree's root is killed outright, the kernel ends the parts. Our main thread starts them, as this needs."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(url: str) -> bool:
    # A proxy of the environment's is for the world outside, not for our own loopback.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command's output
