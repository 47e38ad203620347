"""What the teachers say about kept tokens: read at every step, or once and kept on disk.

Legend: B sequences, T positions, N kept tokens of a batch, n of them in one chunk, b of those in one block, D hidden
width, V vocabulary, K largest probabilities, C classes: the K and, where there are more words, all others as one.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from worker.training.device import Precision, autocast
from worker.training.language.chunked import Compared, Divergence
from worker.training.language.models import head_of
from worker.training.language.scripts import Scripts, on_device
from worker.training.language.states import states_of
from worker.training.objectives.registry import Objective
from worker.training.split import Rows


class Signal(Protocol):
    """Where the teachers' distributions come from."""

    def of(self, rows: Rows | Sequence[int], /) -> dict[str, Any]:
        """Return what a batch of these examples carries for `divergence`; called where batches are made."""

    def divergence(self, batch: Mapping[str, Any], objective: Objective, temperature: float, /) -> Divergence:
        """Return the objective between teachers and student on the batch's kept tokens."""


@dataclass(frozen=True)
class Voices:
    """The teachers as one: the weighted mean of their softened probabilities, over the ids that all models know."""

    models: Sequence[nn.Module]
    weights: Sequence[float]
    vocabulary: int
    precision: Precision

    @cached_property
    def heads(self) -> list[nn.Module]:
        """The teachers' heads; in bf16, if need be copies, so that no weight is cast again for each chunk of rows."""
        heads = [head_of(model) for model in self.models]
        return heads if self.precision == "fp32" else [_in_bf16(head) for head in heads]

    @torch.no_grad()
    def hidden(self, scripts: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """Return each teacher's last hidden states [N, D] of the kept positions of its script."""
        return [
            last_hidden(model, script["texts"], script["predicts"], self.precision)
            for model, script in zip(self.models, scripts, strict=True)
        ]

    @torch.no_grad()
    def spoken(self, hidden: Sequence[Tensor], rows: slice | Tensor, temperature: float) -> "Spoken":
        """Let each teacher's head speak on some rows."""
        with autocast(self.precision):
            each = [
                head(states_ND[rows])[:, : self.vocabulary] for head, states_ND in zip(self.heads, hidden, strict=True)
            ]
        return Spoken(each, self.weights, temperature)


@dataclass(frozen=True)
class Spoken:
    """What the teachers' heads give on the rows of a chunk: logits [n, V] of each, in its own precision."""

    each: Sequence[Tensor]
    weights: Sequence[float]
    temperature: float

    @torch.no_grad()
    def mixed(self, rows: slice) -> Tensor:
        """Return float32 logits [b, V] of some rows whose softmax at the temperature is the teachers' mixture there."""
        if len(self.each) == 1:
            return self.each[0][rows].float()
        softened = [
            log_softmax(logits_nV[rows].float() / self.temperature, dim=-1) + math.log(weight / sum(self.weights))
            for logits_nV, weight in zip(self.each, self.weights, strict=True)
        ]
        return torch.logsumexp(torch.stack(softened), dim=0) * self.temperature


def _in_bf16(head: nn.Module) -> nn.Module:
    is_so = all(weight.dtype == torch.bfloat16 for weight in head.parameters() if weight.dim() > 1)
    return head if is_so else copy.deepcopy(head).bfloat16()


def last_hidden(model: nn.Module, texts: Mapping[str, Tensor], predicts_BT: Tensor, precision: Precision) -> Tensor:
    """Return the last hidden states [N, D] of some positions, final norm included."""
    with autocast(precision):
        return states_of(model, texts, predicts_BT)


@dataclass(frozen=True)
class Present:
    """The teachers read every batch when it comes. A batch holds `teachers`: one script per teacher."""

    voices: Voices
    scripts: Sequence[Scripts]

    def of(self, rows: Rows | Sequence[int]) -> dict[str, Any]:
        return {"teachers": [one.script(rows) for one in self.scripts]}

    def hidden(self, batch: Mapping[str, Any]) -> list[Tensor]:
        return self.voices.hidden([on_device(script) for script in batch["teachers"]])

    def divergence(self, batch: Mapping[str, Any], objective: Objective, temperature: float) -> Divergence:
        return full_divergence(self.voices, self.hidden(batch), objective, temperature)


def full_divergence(voices: Voices, hidden: Sequence[Tensor], objective: Objective, temperature: float) -> Divergence:
    """Return the objective over the whole common vocabulary."""

    def divergence(chunk: slice) -> Compared:
        spoken = voices.spoken(hidden, chunk, temperature)

        def compared(student_bV: Tensor, rows: slice) -> Tensor:
            return objective(student_bV[:, : voices.vocabulary], spoken.mixed(rows), None, temperature=temperature)

        return compared

    return divergence


def coarse_divergence(
    ids_NK: Tensor, log_p_NC: Tensor, vocabulary: int, objective: Objective, temperature: float
) -> Divergence:
    """Return the objective over K words and all others as one more class.

    `log_p_NC` were softened at `temperature` when they were kept, so that this is exactly the softened distribution,
    only seen more coarsely: no divergence is larger than the full one, and where each class is one word it is the full
    one.

    Args:
        ids_NK: the K words of each row.
        log_p_NC: the teachers' log-probabilities of them, as `coarsened` gives them.
        vocabulary: how many words the teachers and the student have in common.
    """

    def divergence(chunk: slice) -> Compared:
        ids_nK, log_p_nC = ids_NK[chunk], log_p_NC[chunk]

        def compared(student_bV: Tensor, rows: slice) -> Tensor:
            log_q_bV = log_softmax(student_bV[:, :vocabulary].float() / temperature, dim=-1)
            log_q_bC, log_p_bC = coarsened(log_q_bV, ids_nK[rows].long()), log_p_nC[rows].float()
            return objective(log_q_bC, log_p_bC, None, temperature=1.0) * temperature**2

        return compared

    return divergence


def coarsened(log_p_nV: Tensor, ids_nK: Tensor) -> Tensor:
    """Return log-probabilities of K words and, as the last class, of all others together; [n, V] where K is V.

    The others are summed themselves: one minus the sum of the K would be rounding error where they leave little.
    """
    of_words_nK = log_p_nV.gather(1, ids_nK)
    if ids_nK.shape[1] == log_p_nV.shape[1]:
        return of_words_nK
    others_n1 = log_p_nV.scatter(1, ids_nK, -math.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([of_words_nK, others_n1], dim=-1)
