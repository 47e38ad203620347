"""What each optimizer step learns from: by seed and epoch alone, similar lengths together."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

STEPS_SORTED_TOGETHER = 50

Places = NDArray[np.int64]


class LengthGroupedSteps(Sampler[list[Places]]):
    """Yields the optimizer steps of an epoch, each as its micro-batches: positions 0..n-1, similar lengths together.

    The steps depend on seed, epoch and the size of a whole one, not on the number of micro-batches nor on the state of
    any generator: a resumed run, a run with smaller micro-batches and the baseline read the same. The longest step
    comes first, so that memory that does not suffice shows at once.

    Args:
        lengths: tokens of each example, [n].
        step_examples: examples of a step; the last of an epoch may have fewer.
        micro_batches: into how many each step is cut, where it has as many examples.
        is_even: let steps, and micro-batches, have about equally many tokens instead, padding included: as many steps,
            with fewer examples where they are long, and more where they are short.
    """

    def __init__(
        self, lengths: Places, step_examples: int, seed: int, micro_batches: int = 1, *, is_even: bool = False
    ) -> None:
        self.lengths, self.step_examples, self.seed, self.epoch = lengths, step_examples, seed, 0
        self.micro_batches, self.is_even = micro_batches, is_even

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.step_examples)

    def __iter__(self) -> Iterator[list[Places]]:
        """Yield the micro-batches of each step of this epoch."""
        draw = np.random.default_rng([self.seed, self.epoch])
        order = draw.permutation(len(self.lengths))
        steps = self._even(order) if self.is_even else self._equal(order)
        whole = [step for step in steps if self.is_even or len(step) == self.step_examples]
        rest = [step for step in steps if not self.is_even and len(step) < self.step_examples]
        whole = [whole[place] for place in draw.permutation(len(whole))]
        largest = max(range(len(whole)), key=lambda place: self._positions(whole[place]), default=0)
        for step in whole[largest : largest + 1] + whole[:largest] + whole[largest + 1 :] + rest:
            yield self._cut(step, self.micro_batches)

    def _equal(self, order: Places) -> list[Places]:
        """Cut into steps of equally many examples."""
        together = self.step_examples * STEPS_SORTED_TOGETHER
        steps = []
        for start in range(0, len(order), together):
            some = self._falling(order[start : start + together])
            steps += [some[at : at + self.step_examples] for at in range(0, len(some), self.step_examples)]
        return steps

    def _even(self, order: Places) -> list[Places]:
        """Cut into steps of about equally many positions. All are sorted together, so that each epoch has as many
        steps of the same sizes; which of the examples of one length a step has, is drawn."""
        return self._cut(self._falling(order), len(self))

    def _cut(self, places: Places, parts: int) -> list[Places]:
        parts = min(parts, len(places))
        if self.is_even:
            return np.split(places, even_cuts(self.lengths[places], parts))
        return np.array_split(places, parts)

    def _positions(self, step: Places) -> int:
        """Return how many a step has, padded to its longest example."""
        return len(step) * int(self.lengths[step[0]])

    def _falling(self, places: Places) -> Places:
        return places[np.argsort(-self.lengths[places], kind="stable")]


def even_cuts(falling: Places, parts: int) -> list[int]:
    """Return where to cut examples into so many parts that the largest is as small as can be, padding included.

    Args:
        falling: tokens of each example, [n], none more than the one before. A part pads all to its first.
        parts: 1..n.

    Returns:
        parts - 1 places, rising: no part is empty.
    """
    least, most = int(falling[0]), int(falling[0]) * len(falling)
    while least < most:  # the smallest size with which they are enough
        size = (least + most) // 2
        least, most = (least, size) if len(_filled(falling, size, parts)) <= parts else (size + 1, most)
    starts = _filled(falling, least, parts)
    while len(starts) < parts:
        ends = [*starts[1:], len(falling)]
        _, start, end = max((int(falling[a]) * (b - a), a, b) for a, b in zip(starts, ends, strict=True) if b - a > 1)
        starts = sorted([*starts, (start + end) // 2])
    return starts[1:]


def _filled(falling: Places, size: int, parts: int) -> list[int]:
    """Return where parts begin that each take as many as fit into `size` positions; gives up beyond `parts`."""
    starts: list[int] = []
    at = 0
    while at < len(falling) and len(starts) <= parts:
        starts.append(at)
        at += max(1, size // int(falling[at]))
    return starts
