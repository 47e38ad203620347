"""Held-out examples that are in the training part too: they tell nothing of what a model does with others."""

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

from worker.training.split import Parts


def in_both(parts: Parts, seen: Callable[[int], bytes]) -> int:
    """Return how many held-out examples are read exactly as some training example is.

    Args:
        seen: takes a row; equal where a model is given the same.
    """

    def mark(row: int) -> bytes:
        return blake2b(seen(row), digest_size=16).digest()

    held_out = Counter(mark(int(row)) for row in parts.held_out)
    return sum(held_out.pop(mark(int(row)), 0) for row in parts.train)


def remark(count: int, parts: Parts) -> str:
    """Say so, in words."""
    return (
        f"{count:,} of {len(parts.held_out):,} {parts.held_out_name} examples are in the training part too, exactly as "
        "the student reads them: they flatter every model. Remove the duplicates, or keep them in one part."
    )
