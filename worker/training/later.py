"""Work that goes on beside a training: one piece at a time, in the order in which it was given."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType

log = logging.getLogger("distil")


class Later:
    """Use as a context manager around a training: what was begun is over when it is left."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "Later":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.wait()
            return
        try:
            self.wait()
        except BaseException:  # the training's own error is the one to tell
            log.warning("what went on beside the training failed too", exc_info=True)

    def begin(self, work: Callable[[], None]) -> None:
        """Begin a piece of work, once the one before is over. Raises what that one raised."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(work,), name="later", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what was raised by a piece that is over already; wait for nothing."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Wait for what was begun. Raises what it raised."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where somebody waits
            self._error = error
