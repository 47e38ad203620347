"""What a teacher with other tokens says of the student's: its distribution where two of their tokens begin together.

Legend: N kept tokens of the student in a batch, M of the teacher, n of the N in one chunk, b of those in one block, k
of them paired, V and W their vocabularies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.training.device import Precision, device
from worker.training.language.alignment import NOWHERE, Mates
from worker.training.language.chunked import Compared, Divergence
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

    def said(self, batch: Mapping[str, Any], temperature: float) -> Callable[[slice], Callable[[slice], "Said"]]:
        """Return what tells of a chunk, and then of some of its rows, what the teacher says there."""
        hidden, mates_N = self.reader.hidden(batch), batch["mates"].to(device())

        def of_chunk(chunk: slice) -> Callable[[slice], Said]:
            mates_n = mates_N[chunk]
            is_paired_n = mates_n != NOWHERE
            spoken = self.voices.spoken(hidden, mates_n[is_paired_n], temperature)

            def of_rows(rows: slice) -> Said:
                is_paired_b, before = is_paired_n[rows], int(is_paired_n[: rows.start].sum())
                return Said(is_paired_b, spoken.mixed(slice(before, before + int(is_paired_b.sum()))))

            return of_rows

        return of_chunk

    def divergence(self, batch: Mapping[str, Any], objective: Objective, temperature: float) -> Divergence:
        said_of = self.said(batch, temperature)

        def divergence(chunk: slice) -> Compared:
            of_rows = said_of(chunk)

            def compared(student_bV: Tensor, rows: slice) -> Tensor:
                said = of_rows(rows)
                return objective(student_bV[said.is_paired_b], said.teacher, None, temperature=temperature)

            return compared

        return divergence


@dataclass(frozen=True)
class Said:
    """The teacher's logits where the two meet, and where that is."""

    is_paired_b: Tensor
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

    def said(self, rows: Rows) -> Callable[[slice], Callable[[slice], Said]]:
        return self.paired.said(self.paired.of(rows), self.temperature)

    def measured(self, logits_bV: Tensor, said: Said, targets_b: Tensor) -> dict[str, Tensor]:
        distance_b = torch.zeros(len(targets_b), device=logits_bV.device)
        distance_b[said.is_paired_b] = uld_of_rows(logits_bV[said.is_paired_b], said.teacher, self.temperature)
        return {
            "loss": loss_of_rows(logits_bV, targets_b),
            "kd_loss": distance_b,
            "paired": said.is_paired_b.float(),
        }


def distance(tally: Tally) -> float | None:
    """Return the mean distance over paired tokens; None where it was not taken."""
    if "paired" not in tally.sums:
        return None
    return float(tally.sums["kd_loss"].sum() / tally.sums["paired"].sum())
