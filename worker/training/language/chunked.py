"""The loss on every kept token without the logits of all of them: rows go through the heads some at a time.

A chunk is as many rows as pay for reading a head's weights; its logits stay in the precision of the head. A block is as
many of its rows as a core's cache holds in float32: what is compared word by word never travels to memory and back.

Legend: N kept tokens, n of them in one chunk, b of those in one block, D hidden width, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from worker.training.device import Precision, autocast, device

Compared = Callable[[Tensor, slice], Tensor]
"""Takes the student's logits [b, V] in float32 and which of the chunk's rows they are; returns the objective's sum."""
Divergence = Callable[[slice], Compared]
"""Takes which of the N rows a chunk is, and lets the teachers' heads speak there."""

LOGITS_OF_CHUNK = 2**25
LOGITS_OF_BLOCK = 2**19
FEWEST_ROWS, MOST_ROWS, ROUND_ROWS = 16, 1024, 256


def rows_at_once(vocabulary: int) -> int:
    """Return how many rows make a chunk of at most some 32 million logits: 64 MB a model in bf16.

    The number is round where it can be: matrix products of 682 rows take a fifth longer a row than those of 512.
    """
    rows = min(MOST_ROWS, LOGITS_OF_CHUNK // vocabulary)
    return max(FEWEST_ROWS, rows - rows % ROUND_ROWS if rows >= ROUND_ROWS else rows)


def rows_of_block(vocabulary: int) -> int:
    """Return how many rows make a block: 2 MB a copy in float32, or on a GPU, where each step costs a launch, 64."""
    logits = LOGITS_OF_BLOCK if device().type == "cpu" else LOGITS_OF_CHUNK // 2
    return max(1, logits // vocabulary)


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover 0 to `count`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


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

    @property
    def learned(self) -> list[nn.Parameter]:
        """What of the head learns."""
        return [parameter for parameter in self.head.parameters() if parameter.requires_grad]

    def compared(self, logits_nV: Tensor, rows: slice, block_rows: int, wants_gradient: bool) -> list[Tensor]:
        """Return the weighted sum over a chunk, and unweighted cross-entropy and divergence.

        Where a gradient is wanted it takes the logits' place.
        """
        targets_n = self.targets[rows]
        divergence = self.divergence(rows) if self.divergence is not None else None
        sums = [torch.zeros((), dtype=torch.float32, device=logits_nV.device) for _ in range(3)]
        for block in slices(len(logits_nV), block_rows):
            block_bV = logits_nV[block].float().requires_grad_(wants_gradient)
            with torch.set_grad_enabled(wants_gradient and self.ce_share > 0):
                ce = cross_entropy(block_bV, targets_n[block], reduction="sum")
            with torch.set_grad_enabled(wants_gradient and self.kd_share > 0):
                kd = divergence(block_bV, block) if divergence is not None else torch.zeros_like(ce)
            with torch.set_grad_enabled(wants_gradient):
                found = (self.kd_share * kd + self.ce_share * ce, ce, kd)
            for total, part in zip(sums, found, strict=True):
                total += part.detach()
            if wants_gradient:
                (logits_nV[block],) = torch.autograd.grad(found[0], [block_bV])
        return sums


def chunked_loss(
    hidden_ND: Tensor, terms: Terms, chunk_rows: int | None = None, block_rows: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sum over all rows (differentiable), and the sums of cross-entropy and divergence.

    Logits [chunk_rows, V] of student and teacher exist one chunk at a time. The gradients of a chunk are taken at once,
    while its logits are there, and wait for the backward pass as [N, D] and the head's own shape: nothing is computed
    twice.

    Args:
        hidden_ND: the student's last hidden states of kept positions.
        terms: the head above them, and what is summed.
        chunk_rows: rows that go through the heads at a time; by default as many as `rows_at_once` says.
        block_rows: rows that are compared at a time; by default as many as `rows_of_block` says.
    """
    vocabulary = int(terms.head.get_parameter("weight").shape[0])
    sizes = (chunk_rows or rows_at_once(vocabulary), block_rows or rows_of_block(vocabulary))
    loss, ce, kd = _Chunked.apply(hidden_ND, terms, *sizes, *terms.learned)  # type: ignore[no-untyped-call]
    return loss, ce, kd


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, terms: Terms, chunk_rows: int, block_rows: int, *learned: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        wants_gradient = any(ctx.needs_input_grad)
        sums = [torch.zeros((), dtype=torch.float32, device=hidden_ND.device) for _ in range(3)]
        hidden_gradient_ND = torch.empty_like(hidden_ND) if wants_gradient else None
        gradients: Sequence[Tensor] = ()
        for rows in slices(len(hidden_ND), chunk_rows):
            with torch.set_grad_enabled(wants_gradient), autocast(terms.precision):
                hidden_nD = hidden_ND[rows].detach().requires_grad_(wants_gradient)
                logits_nV = terms.head(hidden_nD)
            # The backward pass of a linear map needs its inputs, not what it gave: that place takes the gradient.
            own_nV = logits_nV.detach()
            for total, part in zip(sums, terms.compared(own_nV, rows, block_rows, wants_gradient), strict=True):
                total += part
            if hidden_gradient_ND is not None:
                hidden_gradient_ND[rows], *of_head = torch.autograd.grad(logits_nV, [hidden_nD, *learned], own_nV)
                for total, part in zip(gradients, of_head, strict=False):
                    total += part
                gradients = gradients or of_head
        ctx.gradients = (hidden_gradient_ND, gradients or [torch.zeros_like(parameter) for parameter in learned])
        ctx.mark_non_differentiable(*sums[1:])
        return sums[0], sums[1], sums[2]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient_ND, gradients = ctx.gradients
        ctx.gradients = None
        found = (hidden_gradient_ND, *gradients)
        if float(upstream[0]) != 1.0:
            found = tuple(gradient.mul_(upstream[0]) for gradient in found)
        return (found[0], None, None, None, *found[1:])
