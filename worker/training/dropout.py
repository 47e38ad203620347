"""Dropout on CPUs, with four of its draws out of each random number.

torch's own draws a random number for every element, which takes a sixth of a small encoder's step on a CPU; attention
that drops is composed of single operations there and draws so as well. Here a faster generator draws, which torch's
seeds, and an element is dropped by its bits.

Legend: B sequences, H heads, Q and K positions that ask and are asked, D width of a head.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "sdpa_with_quick_dropout"
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
    """Let a model's dropout, and that of its attention, draw as here. Weights and what is saved stay as they are."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = QuickDropout
        if isinstance(module, PreTrainedModel) and _asks_by_name(module):
            module.set_attn_implementation(ATTENTION)


def _asks_by_name(model: PreTrainedModel) -> bool:
    return bool(model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation())


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
        ctx.kept, ctx.growth = _draw(states.shape, p, BITS[states.element_size()]), 1 / (1 - p)
        return _masked(states, ctx.kept).mul_(ctx.growth)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _masked(gradient, ctx.kept).mul_(ctx.growth), None


def _draw(shape: torch.Size, p: float, kind: torch.dtype) -> Tensor:
    """Return integers: all bits set with probability 1 - p, none otherwise."""
    count, most = shape.numel(), round((1 - p) * STEPS) - STEPS // 2 - 1
    seed = int(torch.randint(1 << 62, ()))
    random = np.random.Generator(np.random.SFC64(seed)).integers(1 << 64, size=-(-count // 4), dtype=np.uint64)
    kept = torch.from_numpy(random.view(np.int16))[:count].clamp_(most, most + 1).sub_(most + 1)
    return kept.to(kind).view(shape)


def _masked(states: Tensor, kept: Tensor) -> Tensor:
    return torch.bitwise_and(states.view(kept.dtype), kept).view(states.dtype)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return what attention read [B, Q, H, D]: transformers' own where nothing is dropped, or more is asked for."""
    is_masked = attention_mask is not None or not (
        getattr(module, "is_causal", True) if is_causal is None else is_causal
    )
    is_plain = is_masked and key.shape[1] == query.shape[1] and others.get("position_bias") is None
    if not is_plain or not is_quicker(dropout, query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **others)
    read_BHQD = attended(query, key, value, attention_mask, dropout, scaling or query.shape[-1] ** -0.5)
    return read_BHQD.transpose(1, 2).contiguous(), None


def attended(
    query_BHQD: Tensor, key_BHKD: Tensor, value_BHKD: Tensor, mask: Tensor | None, dropout: float, scaling: float
) -> Tensor:
    """Return softmax(query key^T * scaling) value, after some of the softmax is dropped (Vaswani et al. 2017, 3.2.1).

    Args:
        mask: broadcast to [B, H, Q, K]; True where a position may be read, or numbers to be added.
    """
    scores_BHQK = torch.matmul(query_BHQD * scaling, key_BHKD.transpose(-1, -2))
    if mask is not None and mask.dtype == torch.bool:
        scores_BHQK = scores_BHQK.masked_fill(~mask, torch.finfo(scores_BHQK.dtype).min)
    elif mask is not None:
        scores_BHQK = scores_BHQK + mask
    shares_BHQK = torch.softmax(scores_BHQK, dim=-1).to(value_BHKD.dtype)
    if dropout:
        shares_BHQK = dropped(shares_BHQK, dropout)
    return torch.matmul(shares_BHQK, value_BHKD)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
