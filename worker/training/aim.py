"""What a classifier minimises.

Legend: B examples, C classes, T positions, D hidden width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from worker.training.classifying import with_hidden_states
from worker.training.goal import Counts
from worker.training.lessons import IGNORED
from worker.training.objectives.registry import HiddenObjective, Objective

DIVERGED_ABOVE = 1e4
"""Nats per example: no loss of a model that still learns anything is near it."""


@dataclass(frozen=True)
class Aim:
    """What is minimised: alpha * objective + (1 - alpha) * cross-entropy (+ weight * hidden).

    Sums are divided by the examples of the whole optimizer step (cross-entropy by the labelled ones, the hidden term by
    tokens), so that accumulating k micro-batches of b is a batch of k * b.
    """

    alpha: float = 0.0
    temperature: float = 1.0
    objective: Objective | None = None
    hidden: HiddenObjective | None = None
    hidden_weight: float = 0.0
    hidden_teacher: PreTrainedModel | None = None
    is_same_reading: bool = True
    """True where teacher and student cut texts into the same tokens, so that hidden states meet token by token."""

    @property
    def most(self) -> float:
        return DIVERGED_ABOVE * max(1.0, self.temperature**2)

    def counts(self, batches: Sequence[Mapping[str, Any]]) -> Counts:
        return {
            "examples": sum(len(batch["labels"]) for batch in batches),
            "labelled": sum(int(batch["is_labelled"].sum()) for batch in batches),
            "tokens": sum(int(batch["inputs"]["attention_mask"].sum()) for batch in batches) if self.hidden else 0,
        }

    def losses(
        self, pupil: nn.Module, batch: Mapping[str, Any], counts: Counts
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        logits_BC, hidden = pupil(batch["inputs"])
        logits_BC = logits_BC.float()
        ce = cross_entropy(logits_BC, batch["labels"], ignore_index=IGNORED, reduction="sum")
        ce = ce / max(1, counts["labelled"])
        loss = (1 - self.alpha) * ce
        parts = {"ce_loss": ce}
        if self.objective is not None:
            every_B = torch.ones_like(batch["is_labelled"])
            kd = self.objective(logits_BC, batch["teacher_logits"], every_B, temperature=self.temperature)
            parts["kd_loss"] = kd / counts["examples"]
            loss = loss + self.alpha * parts["kd_loss"]
        if self.hidden is not None:
            parts["hidden_loss"] = self._hidden_loss(hidden, pupil.mapping, batch, counts)
            loss = loss + self.hidden_weight * parts["hidden_loss"]
        return loss, parts, logits_BC

    def _hidden_loss(self, hidden: list[Tensor], mapping: Any, batch: Mapping[str, Any], counts: Counts) -> Tensor:
        """Return the mean over mapped layers and kept tokens.

        The teacher reads along: its hidden states for the whole data set are too large to keep, unlike its logits.
        """
        teacher, objective = self.hidden_teacher, self.hidden
        if mapping is None or teacher is None or objective is None:
            raise RuntimeError("a hidden objective needs a mapping and a teacher")
        with torch.no_grad():
            _, states = with_hidden_states(teacher, batch["teacher_inputs"])
        mask_BT = batch["inputs"]["attention_mask"].bool()
        if self.is_same_reading:
            pairs = [(own, states[at], mask_BT) for own, at in zip(hidden, mapping.teacher, strict=True)]
            total: int = counts["tokens"]
        else:
            teacher_mask_BT = batch["teacher_inputs"]["attention_mask"].bool()
            every_B = torch.ones(len(mask_BT), dtype=torch.bool, device=mask_BT.device)
            pairs = [
                (mean_over_tokens(own, mask_BT), mean_over_tokens(states[at], teacher_mask_BT), every_B)
                for own, at in zip(hidden, mapping.teacher, strict=True)
            ]
            total = counts["examples"]
        sums = [objective(own, theirs, mask) for own, theirs, mask in pairs]
        return torch.stack(sums).sum() / (total * len(pairs))


def mean_over_tokens(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean hidden state [B, D] of each sequence's tokens."""
    weights_BT1 = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
    return (states_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1).clamp(min=1)
