"""Held-out examples that are in the training part too: they tell nothing of what a model does with others."""

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

from worker.training.split import Parts, Rows

ROWS_BETWEEN_LOOKS = 1000


def in_both(train: Rows, held_out: Rows, seen: Callable[[int], bytes], look: Callable[[], None]) -> int:
    """Return how many held-out examples are given to a model exactly as some training example is.

    Args:
        seen: takes a row; equal where a model is given the same.
        look: called now and then on the way; may raise Stopped.
    """

    def mark(row: int) -> bytes:
        return blake2b(seen(row), digest_size=16).digest()

    sought = Counter(mark(int(row)) for row in held_out)
    found = 0
    for place, row in enumerate(train):
        found += sought.pop(mark(int(row)), 0)
        if place % ROWS_BETWEEN_LOOKS == 0:
            look()
    return found


def remark(count: int, parts: Parts, what: str = "examples") -> str:
    """Say so, in words."""
    return (
        f"{count:,} of {len(parts.held_out):,} {parts.held_out_name} {what} {'is' if count == 1 else 'are'} in the "
        "training part too, exactly as the student reads them, which flatters whatever was trained on them. "
        "Remove the duplicates, or keep them in one part."
    )
