"""What a teacher with other tokens says of the student's: its distribution where two of their tokens begin together.

Legend: N kept tokens of the student in a batch, M of the teacher, n some of the N, k of them paired, V and W their
vocabularies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.training.device import Precision, device
from worker.training.language.alignment import NOWHERE, Mates
from worker.training.language.chunked import Divergence, rows_at_once
from worker.training.language.evaluation import Reader, Tally, loss_of_rows
from worker.training.language.signal import Voices
from worker.training.objectives.registry import Objective
from worker.training.objectives.uld import uld_of_rows
from worker.training.split import Rows


@dataclass(frozen=True)
class Paired:
    """A signal of one teacher, read along or kept; a batch holds `mates` beside what the reader puts there.

    Tokens of the student's that meet none of the teacher's have no divergence: they learn from the texts alone.
    """

    voices: Voices
    """The teacher alone, over its own vocabulary."""
    reader: Reader
    mates: Mates

    def of(self, rows: Rows | Sequence[int]) -> dict[str, Any]:
        return {**self.reader.of(rows), "mates": self.mates.of(rows)}

    def said(self, batch: Mapping[str, Any], temperature: float) -> Callable[[slice], "Said"]:
        """Return what tells of some of the batch's kept tokens what the teacher says there."""
        hidden, mates_N = self.reader.hidden(batch), batch["mates"].to(device())

        def said(rows: slice) -> Said:
            mates_n = mates_N[rows]
            is_paired_n = mates_n != NOWHERE
            return Said(is_paired_n, self.voices.logits(hidden, mates_n[is_paired_n], temperature))

        return said

    def divergence(self, batch: Mapping[str, Any], objective: Objective, temperature: float) -> Divergence:
        said_of = self.said(batch, temperature)

        def divergence(student_nV: Tensor, rows: slice) -> Tensor:
            said = said_of(rows)
            every_k = torch.ones(len(said.teacher), dtype=torch.bool, device=student_nV.device)
            return objective(student_nV[said.is_paired_n], said.teacher, every_k, temperature=temperature)

        return divergence


@dataclass(frozen=True)
class Said:
    """The teacher's logits where the two meet, and where that is."""

    is_paired_n: Tensor
    teacher: Tensor
    """[k, W]."""


@dataclass(frozen=True)
class PairedYardstick:
    """A teacher with other tokens: no KL and no same choice, but the distance of sorted probabilities."""

    paired: Paired
    vocabulary: int
    """The larger of the two."""
    temperature: float = 1.0
    measures: tuple[str, ...] = ("loss", "kd_loss", "paired")

    @property
    def precision(self) -> Precision:
        return self.paired.voices.precision

    @property
    def rows_at_once(self) -> int:
        return rows_at_once(self.vocabulary)

    def said(self, rows: Rows) -> Callable[[slice], Said]:
        return self.paired.said(self.paired.of(rows), self.temperature)

    def measured(self, logits_nV: Tensor, said: Said, targets_n: Tensor) -> dict[str, Tensor]:
        distance_n = torch.zeros(len(targets_n), device=logits_nV.device)
        distance_n[said.is_paired_n] = uld_of_rows(logits_nV[said.is_paired_n], said.teacher, self.temperature)
        return {
            "loss": loss_of_rows(logits_nV, targets_n),
            "kd_loss": distance_n,
            "paired": said.is_paired_n.float(),
        }


def distance(tally: Tally) -> float | None:
    """Return the mean distance over paired tokens; None where it was not taken."""
    if "paired" not in tally.sums:
        return None
    return float(tally.sums["kd_loss"].sum() / tally.sums["paired"].sum())
