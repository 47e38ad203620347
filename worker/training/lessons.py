"""What a batch holds: what the student reads, labels, the teacher's logits, what it reads where it reads along.

Legend: B examples, C classes, T positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from worker.training.reading import Reading
from worker.training.signal import Logits
from worker.training.split import Rows

IGNORED = -100


@dataclass(frozen=True)
class Lessons(Dataset[list[int]]):
    """A part of the data set to learn from. An item is examples' numbers; `collate` makes a batch of them."""

    rows: Rows
    reading: Reading
    codes: Rows
    """Class of every example of the data set, negative where it has no label."""
    teacher: Logits | None = None
    teacher_reading: Reading | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: Rows) -> list[int]:
        return [int(row) for row in self.rows[places]]

    @property
    def lengths(self) -> Rows:
        return self.reading.lengths[self.rows]

    @property
    def labelled(self) -> Rows:
        return self.rows[self.codes[self.rows] >= 0]

    def collate(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return `rows` [B], `inputs` (as Reading.batch), `labels` [B], `is_labelled` [B], `teacher_logits` [B, C]."""
        labels_B = torch.from_numpy(self.codes[np.asarray(rows)])
        batch: dict[str, Any] = {
            "rows": torch.tensor(rows),
            "inputs": self.reading.batch(rows),
            "labels": labels_B.where(labels_B >= 0, IGNORED),
            "is_labelled": labels_B >= 0,
        }
        if self.teacher is not None:
            batch["teacher_logits"] = torch.from_numpy(np.asarray(self.teacher[np.asarray(rows)]))
        if self.teacher_reading is not None:
            batch["teacher_inputs"] = self.teacher_reading.batch(rows)
        return batch
