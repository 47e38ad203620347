"""A request to stop, which a signal handler may make: at any moment, and again within itself."""

import os
import select
import sys
import time
from contextlib import suppress


class StopRequest:
    """Made by `ask`, by a signal handler if need be, or by the end of our stdin. It cannot be taken back.

    `threading.Event` is not for handlers: one that comes while the main thread holds the event's lock waits for
    itself for ever. A byte in a pipe needs no lock. And a thread that sits in `sys.stdin.read` would abort the
    interpreter's end, so the waiting itself looks at stdin.
    """

    def __init__(self, *, until_stdin_ends: bool = False) -> None:
        self._asked, self._ask = os.pipe()
        os.set_blocking(self._ask, False)
        self._stdin = sys.stdin.fileno() if until_stdin_ends else None

    def ask(self) -> None:
        with suppress(BlockingIOError):  # a full pipe says it already
            os.write(self._ask, b"!")

    def is_made(self) -> bool:
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the request; whether it is made."""
        deadline = time.monotonic() + seconds
        while True:
            heard = [self._asked] if self._stdin is None else [self._asked, self._stdin]
            readable, _, _ = select.select(heard, [], [], max(0.0, deadline - time.monotonic()))
            if self._asked in readable:
                return True
            if not readable:
                return False
            if not os.read(heard[1], 1024):
                self._stdin = None
                self.ask()
