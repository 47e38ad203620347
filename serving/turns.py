"""Who may work when: so many at once, so many who wait, and nobody for whom no one listens any more."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from core.errors import DistillError
from core.serving import ALIVE_SECONDS, Alive, Failed, Finished, Line, ServingBusy, ServingOutOfMemory
from worker.training.memory import is_out_of_memory

log = structlog.get_logger()


class Gone(Exception):
    """Nobody listens to this answer any more."""


class Turn:
    """One request's answer on its way from the thread that works to the loop that sends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: asyncio.Queue[Line | None] = asyncio.Queue()
        self._is_gone = threading.Event()
        self.moved_at: float | None = None
        """When the work last went on; None while it waits."""

    def tell(self, line: Line) -> None:
        self.pulse()
        self._put(line)

    def pulse(self) -> None:
        """Say that the work goes on. Raises Gone."""
        self.moved_at = time.monotonic()
        if self._is_gone.is_set():
            raise Gone

    def leave(self) -> None:
        self._is_gone.set()

    def work(self, task: Callable[["Turn"], float]) -> None:
        """Do the task, which tells its lines and returns its seconds; whatever happens becomes the last line."""
        try:
            # From here on the work may be what ends this process: it must not be asked for again.
            self.tell(Alive())
            self._put(Finished(seconds=task(self)))
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this answer and no other
            self._put(Failed.of(_in_our_words(error)))
        finally:
            self._put(None)

    async def lines(self) -> AsyncGenerator[Line]:
        while True:
            try:
                line = await asyncio.wait_for(self._lines.get(), ALIVE_SECONDS)
            except TimeoutError:
                line = Alive()
            if line is None:
                return
            yield line

    def _put(self, line: Line | None) -> None:
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


def _in_our_words(error: Exception) -> DistillError:
    if isinstance(error, DistillError):
        return error
    if is_out_of_memory(error):
        return ServingOutOfMemory("the request and the models in memory together are too large")
    log.error("unforeseen error", exc_info=error)
    return DistillError("something went wrong in the serving process; it is in its log")


class Turns:
    """All requests of this process. Those beyond `at_once` wait, those beyond `waiting` are sent away."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.most = at_once + waiting
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="turn")
        self._present: dict[Turn, Future[None]] = {}
        self.idle_since = time.monotonic()

    @property
    def present(self) -> int:
        """How many are worked on or wait."""
        return len(self._present)

    def stalled(self, seconds: float) -> bool:
        """Whether some work has not moved for so long."""
        before = time.monotonic() - seconds
        return any(turn.moved_at is not None and turn.moved_at < before for turn in self._present)

    async def answer(self, task: Callable[[Turn], float]) -> AsyncGenerator[Line]:
        """Yield the lines of the task's answer. Closing this ends the work at its next token."""
        if len(self._present) >= self.most:
            yield Failed.of(ServingBusy(len(self._present)))
            return
        turn = Turn(asyncio.get_running_loop())
        future = self._pool.submit(turn.work, task)
        self._present[turn] = future
        future.add_done_callback(lambda _: turn._loop.call_soon_threadsafe(self._forget, turn))
        try:
            async for line in turn.lines():
                yield line
        finally:
            turn.leave()
            future.cancel()

    def _forget(self, turn: Turn) -> None:
        self._present.pop(turn, None)
        self.idle_since = time.monotonic()
