"""Dropout on CPUs, with four of its draws out of each random number.

torch's own draws a random number for every element, which takes a sixth of a small encoder's step on a CPU. Here a
faster generator draws, which torch's seeds, and an element is dropped by its bits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STEPS = 1 << 16
"""Probabilities are multiples of its inverse."""
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers as wide as the numbers of so many bytes."""


class QuickDropout(nn.Dropout):
    """nn.Dropout (Srivastava et al. 2014), with the same law."""

    def forward(self, states: Tensor) -> Tensor:
        if not self.training or not is_quicker(self.p, states):
            return super().forward(states)
        return dropped(states, self.p)


def quicken(model: nn.Module) -> None:
    """Let a model's dropout draw as here. Weights and what is saved stay as they are."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = QuickDropout


def is_quicker(p: float, states: Tensor) -> bool:
    """Tell whether this is for such a tensor: on a CPU, and with something to draw."""
    return 1 <= p * STEPS <= STEPS - 1 and states.device.type == "cpu"


def dropped(states: Tensor, p: float) -> Tensor:
    """Return `states` with a share of p zeroed at random, and the others grown so that the mean stays."""
    result: Tensor = _Dropped.apply(states, p)  # type: ignore[no-untyped-call]
    return result


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, p: float) -> Tensor:
        (ctx.kept,), ctx.growth = drawn([states.shape], p, states.dtype), 1 / (1 - p)
        return masked(states, ctx.kept).mul_(ctx.growth)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return masked(gradient, ctx.kept).mul_(ctx.growth), None


def drawn(shapes: Sequence[torch.Size], p: float, dtype: torch.dtype) -> list[Tensor]:
    """Return integers of each shape, as wide as numbers of a type: all bits set with probability 1 - p, none else."""
    counts, most = [shape.numel() for shape in shapes], round((1 - p) * STEPS) - STEPS // 2 - 1
    seed = int(torch.randint(1 << 62, ()))
    random = np.random.Generator(np.random.SFC64(seed)).integers(1 << 64, size=-(-sum(counts) // 4), dtype=np.uint64)
    kept = torch.from_numpy(random.view(np.int16))[: sum(counts)].clamp_(most, most + 1).sub_(most + 1)
    parts = torch.split(kept.to(BITS[dtype.itemsize]), counts)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def masked(states: Tensor, kept: Tensor) -> Tensor:
    """Return what `drawn` kept of states, and zero elsewhere."""
    return torch.bitwise_and(states.view(kept.dtype), kept).view(states.dtype)
