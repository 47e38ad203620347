"""How far the whole job is: its phases weighted by their work, told to the observer."""

import time
from dataclasses import dataclass

from core.wire import Progress
from worker.training.observer import Observer

TRAIN_COST, READ_COST = 3.0, 1.0
"""A backward pass costs about two forward passes."""


@dataclass
class Leg:
    work: float
    steps: int = 0
    done: float = 0.0


class Journey:
    """The legs of a job: `plan` them all, then `move` along each. Work is in parameter-examples; only ratios matter."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.legs: dict[str, Leg] = {}
        self.started = time.monotonic()
        self.found_work = 0.0
        self.epoch = 0.0
        self.step = 0
        self.percent = 0.0

    def plan(self, name: str, work: float, steps: int = 0) -> None:
        """Lay out a leg, or lay it out anew where more is known; what was told as done is never taken back."""
        self.legs[name] = Leg(work, steps)

    def found(self, name: str, share: float) -> None:
        """A checkpoint of an earlier attempt already covers this share of a leg."""
        self.found_work += self.legs[name].work * share - self.legs[name].done
        self.move(name, share)

    def move(self, name: str, share: float, step: int | None = None, epoch: float | None = None) -> None:
        """Say that `share` of a leg is done; `step` and `epoch` are the leg's own."""
        leg = self.legs[name]
        leg.done = leg.work * min(1.0, share)
        if step is not None:
            self.step = sum(other.steps for other in self._before(name)) + step
        self.epoch = epoch if epoch is not None else self.epoch
        self.tell()

    def _before(self, name: str) -> list[Leg]:
        names = list(self.legs)
        return [self.legs[earlier] for earlier in names[: names.index(name)]]

    def tell(self) -> None:
        whole = sum(leg.work for leg in self.legs.values()) or 1.0
        done = sum(leg.done for leg in self.legs.values())
        elapsed = time.monotonic() - self.started
        own = done - self.found_work
        self.percent = max(self.percent, round(100 * done / whole, 2))
        self.observer.progress(
            Progress(
                percent=self.percent,
                step=self.step,
                total_steps=sum(leg.steps for leg in self.legs.values()),
                epoch=round(self.epoch, 3),
                seconds_elapsed=round(elapsed, 3),
                seconds_remaining=round(elapsed * (whole - done) / own, 3) if own > 0.02 * whole else None,
            )
        )
