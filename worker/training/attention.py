"""Attention as models compute it here: texts of a batch may lie end to end, and what is dropped is drawn quickly.

transformers' models look up what attends by a name in their config, and hand it the mask that they were given. Where
texts lie end to end, without padding, that mask is how many tokens each of them has.

Legend: B texts, H heads, Q and K positions that ask and are asked, S of all texts, W width of a head.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from worker.training.dropout import drawn, is_quicker, masked

ATTENTION = "sdpa_of_unpadded_texts"
COUNTS = torch.int32
"""The type of a mask that is how many tokens each text has, [1, 1, 1, B]: no other mask has it."""
ENDLESS = 2**31
"""Tokens: beyond all texts."""
KERNEL_FROM = (8, 0)
"""The CUDA capability from which on torch has a kernel for texts of different lengths, in 16 bits."""
KERNEL_WIDTHS = range(8, 257, 8)
"""Of a head, in which it computes."""

_WINDOWS: ContextVar[list[int]] = ContextVar("windows")
"""Where `windows_noticed` listens."""


def attend_here(model: nn.Module) -> None:
    """Let a model, and what it is made of, attend as here, where it attends by name. What is saved stays as it is."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and _asks_by_name(module):
            module.set_attn_implementation(ATTENTION)


def attends_here(model: PreTrainedModel) -> bool:
    return bool(model.config._attn_implementation == ATTENTION)


def _asks_by_name(model: PreTrainedModel) -> bool:
    return bool(
        model.config._attn_implementation == "sdpa"
        and model._can_set_attn_implementation()
        and not _knows_sdpa(type(model).__module__)
    )


@cache
def _knows_sdpa(module: str) -> bool:
    """Tell whether a model's code asks for that name, and does something else under another (DeepSeek's sparse
    attention, for one)."""
    return re.search(r"_attn_implementation\b.*sdpa", inspect.getsource(sys.modules[module])) is not None


def counts_in(mask: Tensor | None) -> list[int] | None:
    """Return how many tokens each text has, where that is what a mask says."""
    return mask.flatten().tolist() if mask is not None and mask.dtype == COUNTS else None


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
    """Return what attention read [B, Q, H, W], or [1, S, H, W] of texts end to end.

    It is transformers' own where neither texts lie end to end nor anything is dropped.

    Raises:
        ValueError: texts lie end to end, and positions are compared in a way that is not known here.
    """
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    scaling = scaling or query.shape[-1] ** -0.5
    counts = counts_in(attention_mask)
    if counts is not None:
        sight = _sight(causal, others)
        return attend_apart(query, key, value, counts, dropout=dropout, scaling=scaling, sight=sight), None
    is_plain = (attention_mask is not None or not causal) and others.get("position_bias") is None
    if not is_plain or key.shape[1] != query.shape[1] or not is_quicker(dropout, query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **others)
    (read_BHQW,) = dropping([query], [key], [value], [attention_mask], dropout, scaling)
    return read_BHQW.transpose(1, 2).contiguous(), None


class Sight(NamedTuple):
    """How many tokens each reads before and after itself."""

    before: int = ENDLESS
    after: int = ENDLESS

    def mask(self, positions: int, where: torch.device) -> Tensor | None:
        """Return which of so many positions each reads [Q, K], or None where each reads all."""
        if min(self) >= positions - 1:
            return None
        every = torch.ones(positions, positions, dtype=torch.bool, device=where)
        return every.tril(min(self.after, positions)).triu(-min(self.before, positions))

    def window(self, longest: int) -> tuple[int, int]:
        """Return it as kernels are told, in texts of so many tokens at most: -1 is all."""
        before, after = (-1 if side >= longest - 1 else side for side in self)
        return before, 0 if self.after == 0 else after


@contextmanager
def windows_noticed() -> Iterator[list[int]]:
    """Give a list of the windows that attention is told of within this, by texts end to end."""
    windows: list[int] = []
    token = _WINDOWS.set(windows)
    try:
        yield windows
    finally:
        _WINDOWS.reset(token)


def _sight(is_causal: bool, others: Mapping[str, Any]) -> Sight:
    unknown = [name for name in ("position_bias", "softcap", "s_aux") if others.get(name) is not None]
    if unknown:
        raise ValueError(f"attention with {unknown[0]} is not known for texts end to end")
    window = others.get("sliding_window")
    if window:
        _WINDOWS.get([]).append(window)
    before = (window or ENDLESS) - 1
    return Sight(before, 0 if is_causal else before)


ALL = Sight()


def attend_apart(
    query_1HQW: Tensor,
    key_1HSW: Tensor,
    value_1HSW: Tensor,
    counts: Sequence[int],
    *,
    dropout: float,
    scaling: float,
    sight: Sight = ALL,
) -> Tensor:
    """Return what texts end to end read, each within itself alone: [1, Q, H, W].

    Neighbours of equal length are computed together, and nothing is copied or padded for it; on GPUs that have it, a
    kernel for such texts does them all (FlashAttention-2: Dao 2023, arXiv:2307.08691).

    Args:
        query_1HQW: of all tokens, or of one of each text.
        counts: tokens of each text, B numbers with the sum S.
        sight: what of its text each token reads.
    """
    is_one_asking = query_1HQW.shape[2] != key_1HSW.shape[2]
    if has_kernel(query_1HQW, value_1HSW, dropout):
        asking = [1] * len(counts) if is_one_asking else counts
        return by_kernel(query_1HQW, key_1HSW, value_1HSW, asking, counts, scaling, sight)
    runs = [(length, len(list(run))) for length, run in groupby(counts)]
    asking_runs = [(1 if is_one_asking else length, times) for length, times in runs]
    query, key, value = (
        _runs_of(states, of) for states, of in ((query_1HQW, asking_runs), (key_1HSW, runs), (value_1HSW, runs))
    )
    is_grouped = key_1HSW.shape[1] != query_1HQW.shape[1]
    if is_quicker(dropout, query_1HQW) and not is_grouped:
        masks = [sight.mask(length, query_1HQW.device) for length, _ in runs]
        masks = [mask if mask is None else mask[:many] for mask, (many, _) in zip(masks, asking_runs, strict=True)]
        read = dropping(query, key, value, masks, dropout, scaling)
    else:
        read = [_attended(*run, dropout, scaling, sight) for run in zip(query, key, value, strict=True)]
    return torch.cat([run_BHLW.transpose(1, 2).flatten(0, 1) for run_BHLW in read]).unsqueeze(0)


def _runs_of(states_1HSW: Tensor, runs: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Return views [B, H, L, W] of texts of one length; they are cut at once, so that their gradients are joined."""
    parts = torch.split(states_1HSW[0], [length * times for length, times in runs], dim=1)
    heads, width = states_1HSW.shape[1], states_1HSW.shape[3]
    return [
        part.view(heads, times, length, width).transpose(0, 1)
        for part, (length, times) in zip(parts, runs, strict=True)
    ]


def _attended(query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float, sight: Sight) -> Tensor:
    asking, positions, is_grouped = query.shape[2], key.shape[2], key.shape[1] != query.shape[1]
    is_causal = sight.window(positions) == (-1, 0) and asking == positions
    mask = None if is_causal else sight.mask(positions, query.device)
    mask = mask if mask is None else mask[:asking]
    return scaled_dot_product_attention(
        query, key, value, mask, dropout, is_causal=is_causal, scale=scaling, enable_gqa=is_grouped
    )


def dropping(
    query: Sequence[Tensor],
    key: Sequence[Tensor],
    value: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    dropout: float,
    scaling: float,
) -> list[Tensor]:
    """Return softmax(query key^T * scaling) value of each run, after a share of the softmax is dropped (Vaswani et al.
    2017, 3.2.1), on a CPU.

    torch composes it of single operations there. Here the softmax stays in 16 bits where they came in, what was kept
    grows where it is smallest, and all runs' draws are one.

    Args:
        query, key, value: [B, H, Q or K, W] of each run.
        masks: of each run, broadcast to [B, H, Q, K]; True where a position may be read, or numbers to be added.
    """
    read: tuple[Tensor, ...] = _Dropping.apply(  # type: ignore[no-untyped-call]
        (len(query), masks, dropout, scaling), *_alike(query, value), *_alike(key, value), *value
    )
    return list(read)


def _alike(states: Sequence[Tensor], values: Sequence[Tensor]) -> list[Tensor]:
    """Return states in the type of values: some models turn positions in 32 bits."""
    return [one.to(other.dtype) for one, other in zip(states, values, strict=True)]


class _Dropping(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, told: tuple[int, Sequence[Tensor | None], float, float], *states: Tensor
    ) -> tuple[Tensor, ...]:
        count, masks, dropout, ctx.scaling = told
        query, key, value = states[:count], states[count : 2 * count], states[2 * count :]
        ctx.growth = 1 / (1 - dropout)
        with torch.autocast("cpu", enabled=False):
            shares = [
                _shares(q_BHQW * ctx.scaling, k_BHKW, mask)
                for q_BHQW, k_BHKW, mask in zip(query, key, masks, strict=True)
            ]
            kept = drawn([share.shape for share in shares], dropout, shares[0].dtype)
            read = [
                (masked(share, bits) @ v_BHKW).mul_(ctx.growth)
                for share, bits, v_BHKW in zip(shares, kept, value, strict=True)
            ]
        ctx.kept = kept
        ctx.save_for_backward(*states, *shares)
        return tuple(read)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        count = len(gradients)
        parts = [ctx.saved_tensors[start : start + count] for start in range(0, 4 * count, count)]
        found: list[tuple[Tensor, ...]] = []
        with torch.autocast("cpu", enabled=False):
            for gradient, bits, q_BHQW, k_BHKW, v_BHKW, share in zip(gradients, ctx.kept, *parts, strict=True):
                grown = gradient * ctx.growth
                of_v = masked(share, bits).transpose(-1, -2) @ grown
                of_share = masked(grown @ v_BHKW.transpose(-1, -2), bits)
                of_score = torch.ops.aten._softmax_backward_data(of_share, share, -1, share.dtype)
                of_q = (of_score @ k_BHKW).mul_(ctx.scaling)
                found.append((of_q, of_score.transpose(-1, -2) @ (q_BHQW * ctx.scaling), of_v))
        return None, *(one for of_one in zip(*found, strict=True) for one in of_one)


def _shares(query_BHQW: Tensor, key_BHKW: Tensor, mask: Tensor | None) -> Tensor:
    scores_BHQK = query_BHQW @ key_BHKW.transpose(-1, -2)
    if mask is not None and mask.dtype == torch.bool:
        scores_BHQK.masked_fill_(~mask, torch.finfo(scores_BHQK.dtype).min)
    elif mask is not None:
        scores_BHQK += mask
    return torch.softmax(scores_BHQK, dim=-1)


def has_kernel(states: Tensor, values: Tensor, dropout: float) -> bool:
    """Tell whether torch has a kernel for texts of any lengths here: it drops nothing, and computes in 16 bits."""
    return (
        states.device.type == "cuda"
        and dropout == 0.0
        and kernel_type(states) is not None
        and states.shape[-1] == values.shape[-1]
        and states.shape[-1] in KERNEL_WIDTHS
        and torch.cuda.get_device_capability(states.device) >= KERNEL_FROM
    )


def kernel_type(states: Tensor) -> torch.dtype | None:
    """Return the 16-bit type in which a GPU attends to these states now, or None where it computes in 32."""
    kind = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else states.dtype
    return kind if kind in {torch.bfloat16, torch.float16} else None


def by_kernel(
    query_1HQW: Tensor,
    key_1HSW: Tensor,
    value_1HSW: Tensor,
    asking: Sequence[int],
    counts: Sequence[int],
    scaling: float,
    sight: Sight,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    kind = kernel_type(query_1HQW)
    query, key, value = (states[0].transpose(0, 1).to(kind) for states in (query_1HQW, key_1HSW, value_1HSW))
    read_QHW: Any = varlen_attn(
        query,
        key,
        value,
        _starts(tuple(asking), query.device),
        _starts(tuple(counts), query.device),
        max(asking),
        max(counts),
        scale=scaling,
        window_size=sight.window(max(counts)),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    found: Tensor = read_QHW.unsqueeze(0)
    return found


@lru_cache(maxsize=8)
def _starts(counts: tuple[int, ...], where: torch.device) -> Tensor:
    """Return where each text begins, and where the last one ends; the same for every layer of a pass."""
    with torch.inference_mode(mode=False):  # a training may find what an evaluation made, and keep it for its gradient
        return torch.tensor([0, *accumulate(counts)], dtype=torch.int32, device=where)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
