"""Loading a model changes torch's defaults for the whole process: while it goes on, all others stand still."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many work at once, or one alone. Who works stands still for who wants to be alone, at each `step`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working = 0
        self._alone = False
        self._wanting = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def step(self) -> None:
        """Let whoever wants to be alone be so first. Called between two tokens, by one who is working."""
        if self._wanting:
            self._leave()
            self._enter()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody works, and keep everybody out. For one who is not working."""
        with self._changed:
            self._wanting += 1
            self._changed.wait_for(lambda: not self._working and not self._alone)
            self._wanting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def _enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._wanting)
            self._working += 1

    def _leave(self) -> None:
        with self._changed:
            self._working -= 1
            self._changed.notify_all()
