"""The loss on every kept token without the logits of all of them: rows go through the heads some at a time.

Legend: N kept tokens, n of them in one chunk, D hidden width, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from worker.training.device import Precision, autocast

Divergence = Callable[[Tensor, slice], Tensor]
"""Takes the student's logits [n, V] and which of the N rows they are; returns the objective's sum over them."""

LOGITS_AT_ONCE = 2**24
FEWEST_ROWS, MOST_ROWS = 16, 1024


def rows_at_once(vocabulary: int) -> int:
    """Return how many rows make a chunk of some 16 million logits: 64 MB a copy in float32."""
    return max(FEWEST_ROWS, min(MOST_ROWS, LOGITS_AT_ONCE // vocabulary))


@dataclass(frozen=True)
class Terms:
    """What is summed over rows: `kd_share` times the divergence and `ce_share` times the cross-entropy."""

    head: nn.Module
    targets: Tensor
    """Ids [N]."""
    divergence: Divergence | None
    kd_share: float
    ce_share: float
    precision: Precision

    def of(self, hidden_nD: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum over some rows, and unweighted cross-entropy and divergence."""
        with autocast(self.precision):
            logits_nV = self.head(hidden_nD)
        logits_nV = logits_nV.float()
        ce = cross_entropy(logits_nV, self.targets[rows], reduction="sum")
        kd = self.divergence(logits_nV, rows) if self.divergence is not None else torch.zeros_like(ce)
        return self.kd_share * kd + self.ce_share * ce, ce, kd


def chunked_loss(hidden_ND: Tensor, terms: Terms, chunk_rows: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sum over all rows (differentiable), and the sums of cross-entropy and divergence.

    Logits [chunk_rows, V] of student and teacher exist one chunk at a time. The gradients of a chunk are taken at once,
    while its logits are there, and wait for the backward pass as [N, D] and the head's own shape: nothing is computed
    twice.

    Args:
        hidden_ND: the student's last hidden states of kept positions.
        terms: the head above them, and what is summed.
        chunk_rows: rows at a time; by default as many as `rows_at_once` says.
    """
    if chunk_rows is None:
        chunk_rows = rows_at_once(int(terms.head.get_parameter("weight").shape[0]))
    learned = [parameter for parameter in terms.head.parameters() if parameter.requires_grad]
    loss, ce, kd = _Chunked.apply(hidden_ND, terms, chunk_rows, *learned)  # type: ignore[no-untyped-call]
    return loss, ce, kd


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, terms: Terms, chunk_rows: int, *learned: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        wants_gradient = any(ctx.needs_input_grad)
        sums = [torch.zeros((), dtype=torch.float32, device=hidden_ND.device) for _ in range(3)]
        hidden_gradient_ND = torch.empty_like(hidden_ND) if wants_gradient else None
        gradients = [torch.zeros_like(parameter) for parameter in learned] if wants_gradient else []
        for start in range(0, len(hidden_ND), chunk_rows):
            rows = slice(start, min(start + chunk_rows, len(hidden_ND)))
            with torch.set_grad_enabled(wants_gradient):
                hidden_nD = hidden_ND[rows].detach().requires_grad_(wants_gradient)
                found = terms.of(hidden_nD, rows)
            for total, part in zip(sums, found, strict=True):
                total += part.detach()
            if hidden_gradient_ND is not None:
                hidden_gradient_ND[rows], *of_head = torch.autograd.grad(found[0], [hidden_nD, *learned])
                for total, part in zip(gradients, of_head, strict=True):
                    total += part
        ctx.gradients = (hidden_gradient_ND, gradients)
        ctx.mark_non_differentiable(*sums[1:])
        return sums[0], sums[1], sums[2]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient_ND, gradients = ctx.gradients
        ctx.gradients = None
        scale = upstream[0]
        return (hidden_gradient_ND.mul_(scale), None, None, *(gradient.mul_(scale) for gradient in gradients))
