"""A serving process of the service's own: a child that is started when it is needed and cannot outlive us."""

import importlib.util
import json
import os
import secrets
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from core.serving import ServingUnavailable
from core.settings import Settings

log = structlog.get_logger()

ROOM = "serving"
START_SECONDS = 120.0
PASSED_ON = (
    "stall_seconds",
    "serving_idle_seconds",
    "serving_models",
    "serving_memory_bytes",
    "serving_concurrency",
    "serving_queue",
)


@dataclass(frozen=True)
class Address:
    url: str
    token: str | None


class OwnChild:
    """At most one child. Its token goes in over its stdin, whose end tells it that we are gone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # A request whose client leaves is cancelled; the thread that starts a child for it goes on.
        self._moving = threading.Lock()
        self._is_closed = False
        self._child: subprocess.Popen[bytes] | None = None
        self._address: Address | None = None

    @property
    def address(self) -> Address | None:
        """Where it answers; None where it does not run."""
        return self._address if self._child is not None and self._child.poll() is None else None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def start(self) -> Address:
        """Start it unless it runs, and wait until it answers. Raises ServingUnavailable."""
        with self._moving:
            address = self.address
            return address if address is not None else self._started()

    def end(self, address: Address | None = None) -> None:
        """End it, or only the one of that address; harmless where it does not run."""
        with self._moving:
            if address is None or address == self._address:
                self._end()

    def close(self) -> None:
        """End it for good, also where it is only starting."""
        self._is_closed = True
        child = self._child
        if child is not None:
            child.kill()
        self.end()

    def _started(self) -> Address:
        self._end()
        if self._is_closed:
            raise ServingUnavailable("the service is being stopped")
        if importlib.util.find_spec(ROOM) is None:
            raise ServingUnavailable("it is not installed beside this service, and DISTILL_SERVING_URL is not set")
        token = secrets.token_urlsafe(32)
        self._child = child = subprocess.Popen(
            [sys.executable, "-m", ROOM, "--embedded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A session of its own keeps the terminal's Ctrl-C from it.
            start_new_session=True,
            env={**_environment(), "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"},
        )
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps({"token": token, "settings": self._passed_on()}).encode() + b"\n")
            child.stdin.flush()
            self._address = Address(f"http://127.0.0.1:{_port_of(child)}", token)
        except (OSError, ValueError) as error:
            self._end()
            raise ServingUnavailable(f"it did not start: {error}") from error
        log.info("serving process started", pid=child.pid)
        return self._address

    def _end(self) -> None:
        child, self._child, self._address = self._child, None, None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        # It holds nothing that could be lost.
        child.kill()
        child.wait()
        with suppress(OSError):
            child.stdin.close()
        child.stdout.close()

    def _passed_on(self) -> dict[str, Any]:
        given: dict[str, Any] = {name: getattr(self.settings, name) for name in PASSED_ON}
        return {**given, "data": str(self.settings.data.resolve()), "storage_url": self.settings.storage}


def _environment() -> dict[str, str]:
    """Ours without what the operator set for us: keys and addresses are no business of a process that runs models."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DISTILL_")}


def _port_of(child: subprocess.Popen[bytes]) -> int:
    """Read the one line that it writes. Raises ValueError where none comes."""
    assert child.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        raise ValueError(f"no word within {START_SECONDS:g} seconds")
    line = child.stdout.readline()
    if not line:
        raise ValueError(f"it ended with {child.wait()}; its words are in the service's log")
    return int(json.loads(line)["port"])
