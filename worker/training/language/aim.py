"""What a language model minimises on every kept token.

Legend: N kept tokens, D hidden width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from worker.training.aim import DIVERGED_ABOVE
from worker.training.device import Precision
from worker.training.goal import Counts
from worker.training.language.chunked import Terms, chunked_loss
from worker.training.language.signal import Signal
from worker.training.lessons import IGNORED
from worker.training.objectives.registry import Objective


@dataclass(frozen=True)
class WritingAim:
    """alpha * objective + (1 - alpha) * cross-entropy, per kept token of the whole optimizer step.

    Targets that are IGNORED, such as those that the student wrote itself, count in the objective alone.
    Accumulating k micro-batches of b is therefore a batch of k * b, however their kept tokens are spread.
    """

    precision: Precision
    alpha: float = 0.0
    temperature: float = 1.0
    objective: Objective | None = None
    signal: Signal | None = None
    chunk_rows: int | None = None

    @property
    def most(self) -> float:
        return DIVERGED_ABOVE * max(1.0, self.temperature**2)

    def counts(self, batches: Sequence[Mapping[str, Any]]) -> Counts:
        targets = [batch["targets"] for batch in batches]
        labelled = sum(int((targets_N != IGNORED).sum()) for targets_N in targets)
        return {"kept": sum(len(targets_N) for targets_N in targets), "labelled": labelled}

    def losses(
        self, pupil: nn.Module, batch: Mapping[str, Any], counts: Counts
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        hidden_ND = pupil(batch["texts"], batch["predicts"])
        kept, head = counts["kept"], pupil.head
        divergence = None
        if self.signal is not None and self.objective is not None:
            divergence = self.signal.divergence(batch, self.objective, self.temperature)
        shares = (self.alpha / kept, (1 - self.alpha) / kept)
        terms = Terms(head, batch["targets"], divergence, *shares, self.precision)  # type: ignore[arg-type]
        loss, ce, kd = chunked_loss(hidden_ND, terms, self.chunk_rows)
        parts = {"ce_loss": ce / max(1, counts["labelled"])} | (
            {"kd_loss": kd / kept} if divergence is not None else {}
        )
        return loss, parts, hidden_ND
