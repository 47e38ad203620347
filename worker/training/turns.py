"""One reader at a time: jobs of one machine that need the same reading wait for the first of them."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 120.0
"""A reader that has shown no sign of life for so long is not waited for."""

Beat = Callable[[], None]


@contextmanager
def turn_at(path: Path, while_waiting: Beat) -> Iterator[Beat]:
    """Wait until nobody else has `path`, and have it. The kernel gives it free when its reader dies.

    Two readers do no harm, they only do work twice: so one that is frozen is passed over.

    Args:
        path: a file that is there while somebody has the turn.
        while_waiting: called again and again meanwhile; what it raises ends the waiting.

    Yields:
        what the reader calls now and then to show that it goes on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    is_ours = False
    try:
        while not (is_ours := _take(descriptor)) and _is_alive(descriptor):
            while_waiting()
            time.sleep(LOOK_SECONDS)
        if not is_ours:
            yield lambda: None
            return
        os.utime(descriptor)
        yield lambda: os.utime(descriptor)
    finally:
        if is_ours:
            with suppress(FileNotFoundError):
                path.unlink()
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(descriptor: int) -> bool:
    return time.time() - os.fstat(descriptor).st_mtime < PATIENCE_SECONDS
