"""What a batch of a language model holds: its tokens, which of them are learned, and what the teachers say there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from worker.training.language.scripts import Scripts
from worker.training.language.signal import Signal
from worker.training.split import Rows


@dataclass(frozen=True)
class WritingLessons(Dataset[list[int]]):
    """A part of the data set to learn from. An item is examples' numbers; `collate` makes a batch of them."""

    rows: Rows
    scripts: Scripts
    signal: Signal | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: Rows) -> list[int]:
        return [int(row) for row in self.rows[places]]

    @property
    def lengths(self) -> Rows:
        return self.scripts.lengths[self.rows]

    def collate(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return `texts`, `predicts` [B, T] and `targets` [N] (as Scripts.script), and what the signal adds."""
        return {**self.scripts.script(rows), **(self.signal.of(rows) if self.signal is not None else {})}
