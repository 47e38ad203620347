"""How much of the machine's speed a run uses: the matrix products that its tokens need, against products alone.

Only what the result depends on is counted: no padding, no attention scores, no last-layer states that no head reads.
A pass with gradients counts three times a pass without.
"""

import time
from collections.abc import Sequence

import torch

SIDE = 2048
SECONDS = 10.0
"""A job takes about as long, and no machine keeps up the speed of its fastest moment."""
LEARNING, READING = 6, 2
"""Floating-point operations for each weight that a token meets, with gradients and without."""


def products_per_second() -> tuple[float, float]:
    """Floating-point operations per second of bf16 products of square matrices: over SECONDS, and of the fastest."""
    factor = torch.ones(SIDE, SIDE, dtype=torch.bfloat16)
    seconds: list[float] = []
    while sum(seconds) < SECONDS:
        began = time.perf_counter()
        factor @ factor
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 * len(seconds) / sum(seconds), 2 * SIDE**3 / min(seconds)


def layer_weights(width: int, feed_forward: int, *, matrices: int = 2, keys: float = 1.0) -> float:
    """Weights of one layer that a token meets.

    Args:
        matrices: of the feed-forward; a gated one has 3.
        keys: width of keys, and of values, as a share of `width`.
    """
    return (2 + 2 * keys) * width**2 + matrices * width * feed_forward


def first_token_encoder(layers: int, width: int, feed_forward: int) -> float:
    """Weights that each token meets where the head reads the first one: of the last layer, keys and values."""
    return (layers - 1) * layer_weights(width, feed_forward) + 2 * width**2


def share(operations: float, seconds: Sequence[float]) -> str:
    """A sentence that compares the median run with products alone."""
    reached, (kept_up, fastest) = operations / sorted(seconds)[len(seconds) // 2], products_per_second()
    return (
        f"Matrix products on real tokens: {reached / 1e9:.0f} GFLOP/s, {100 * reached / kept_up:.0f} % of the "
        f"{kept_up / 1e9:.0f} that bf16 products of two {SIDE:,}-square matrices keep up here for {SECONDS:.0f} "
        f"seconds, {100 * reached / fastest:.0f} % of the fastest one's {fastest / 1e9:.0f}."
    )
