"""Starts the training processes of one worker, and keeps one ready: imports done, waiting for its job."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from core.wire import READY, Order

COMMAND = (sys.executable, "-m", "worker.run")


@dataclass
class Children:
    """Each child is a new interpreter in a session of its own: forking after torch has worked hangs.

    Its stdin brings the order, one line of JSON with the lease and the job's secrets, and then stays open for as long
    as we live; its end tells the child that we do not. A child serves one job and ends: what it leaves behind dies
    with it.
    """

    command: Sequence[str] = COMMAND
    keep_ready: bool = False
    _ready: subprocess.Popen[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, order: Order) -> subprocess.Popen[bytes]:
        """Give the order to the child that is ready, or else to a new one."""
        line = order.model_dump_json().encode() + b"\n"
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is not None:
            if _told(ready, line):
                return ready
            _drop(ready)
        child = self._spawn(order.job)
        _told(child, line)
        return child

    def prepare(self) -> None:
        """See that a child is ready for the next job, where that is wanted."""
        with self._lock:
            if self._ready is not None and self._ready.poll() is not None:
                _drop(self._ready)
                self._ready = None
            if self.keep_ready and self._ready is None:
                self._ready = self._spawn(READY)

    def close(self) -> None:
        """End the child that waits; those that train are their supervisor's."""
        self.keep_ready = False
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is not None:
            _drop(ready)

    def _spawn(self, argument: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.command, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )


def _environment() -> dict[str, str]:
    """Ours without what opens every secret: a child gets those of its job, and no other.

    Threads that wait for each other stay awake for some tenths of a millisecond, then sleep: as long as most waits of a
    training step, and too short to take a core from a neighbour.
    """
    ours = {name: value for name, value in os.environ.items() if name != "DISTILL_SECRET_KEY"}
    waiting = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000"}
    return {**ours, **waiting, "TOKENIZERS_PARALLELISM": "true", "PYTHONUNBUFFERED": "1"}


def _told(child: subprocess.Popen[bytes], line: bytes) -> bool:
    """Write an order to a child; False where it has ended and cannot read it."""
    assert child.stdin is not None
    if child.poll() is not None:
        return False
    with suppress(BrokenPipeError):
        child.stdin.write(line)
        child.stdin.flush()
        return True
    return False


def _drop(child: subprocess.Popen[bytes]) -> None:
    """End a child that has no job, and close its pipes."""
    with suppress(BrokenPipeError), child:
        child.kill()
