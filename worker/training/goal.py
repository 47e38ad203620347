"""What the training loop needs to know of a task: what a batch holds, what is minimised, what sums are divided by."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from worker.training.split import Rows

Counts = dict[str, int]
"""What one optimizer step holds, by name. `labelled` is what cross-entropy is divided by."""


class Course(Protocol):
    """What is learned from. An item is the numbers of the examples at some places; `collate` makes a batch of them."""

    @property
    def lengths(self) -> Rows:
        """Tokens of the example at each place: examples of similar length are learned from together."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Rows, /) -> list[int]: ...

    def collate(self, rows: Sequence[int], /) -> dict[str, Any]:
        """Return the batch of these examples; it has `rows`, `labels` or whatever the goal reads."""


class Goal(Protocol):
    """What is minimised."""

    @property
    def alpha(self) -> float:
        """The teacher's share of the loss."""

    @property
    def most(self) -> float:
        """A loss above this has diverged."""

    def counts(self, batches: Sequence[Mapping[str, Any]], /) -> Counts:
        """Count what the micro-batches of one optimizer step hold together."""

    def losses(
        self, pupil: nn.Module, batch: Mapping[str, Any], counts: Counts, /
    ) -> tuple[Tensor, dict[str, Tensor], Any]:
        """Return this micro-batch's share of the step's loss, its parts by name, and what the model said."""
