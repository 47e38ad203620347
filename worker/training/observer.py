"""What the training room tells the world, and what it asks of it. The recorder is one; tests have their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from core.report import Sizes
from core.wire import Level, Progress, Stage

StopReason = Literal["cancel", "pause", "shutdown", "time_limit", "lease_lost"]


class Observer(Protocol):
    def stage(self, stage: Stage) -> None:
        """A stage begins."""

    def progress(self, progress: Progress) -> None:
        """How far the whole job is. Cheap: called at every step; also the sign of life that keeps the lease."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step, by name, such as `kd_loss` or `validation/accuracy`."""

    def event(self, message: str, level: Level = "info") -> None:
        """A sentence for the user. Warnings are also listed on the job."""

    def sizes(self, sizes: Sizes) -> None:
        """The models' parameter counts, once they are loaded."""

    def checkpoint(self, phase: str, step: int, folder: Path, metrics: Mapping[str, float]) -> None:
        """Keep `folder` (a Trainer checkpoint of `phase`); when this returns, a later attempt can resume from it.

        Called from a thread of its own, beside all the others.
        """

    def texts(self, texts: Path, kept: Path) -> None:
        """Keep what a teacher wrote, whatever becomes of the job: every text (JSON lines), and the data set (Parquet)
        of those that are learned."""

    def stop_reason(self) -> StopReason | None:
        """Why the job must stop now, or None. Asked at every step and between pieces of work."""


class Stopped(Exception):
    """The job was asked to stop and has kept what it could."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


class PeerKilled(Exception):
    """A process that trains with this one was ended from outside: the job may be tried again."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how

    def __str__(self) -> str:
        return f"One of its training processes ended by {self.how}"


def stop_if_asked(observer: Observer) -> None:
    """Raise Stopped where the observer gives a reason to stop."""
    reason = observer.stop_reason()
    if reason is not None:
        raise Stopped(reason)
