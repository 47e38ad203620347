"""The order in which examples are learned from: by seed and epoch alone, similar lengths together."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

STEPS_SORTED_TOGETHER = 50


class LengthGroupedOrder(Sampler[int]):
    """Yields positions 0..n-1, in optimizer steps of examples of similar length, the longest step first.

    The order depends on seed, epoch and the examples of a whole optimizer step, not on the micro-batch nor on the state
    of any generator: a resumed run, a run with smaller micro-batches and the baseline read the same. The longest step
    comes first, so that memory that does not suffice shows at once.
    """

    def __init__(self, lengths: NDArray[np.int64], step_examples: int, seed: int) -> None:
        self.lengths, self.step_examples, self.seed, self.epoch = lengths, step_examples, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng([self.seed, self.epoch])
        order = draw.permutation(len(self.lengths))
        together = self.step_examples * STEPS_SORTED_TOGETHER
        steps = []
        for start in range(0, len(order), together):
            some = order[start : start + together]
            some = some[np.argsort(-self.lengths[some], kind="stable")]
            steps += [some[at : at + self.step_examples] for at in range(0, len(some), self.step_examples)]
        whole = [step for step in steps if len(step) == self.step_examples]
        rest = [step for step in steps if len(step) < self.step_examples]
        whole = [whole[place] for place in draw.permutation(len(whole))]
        longest_first = sorted(range(len(whole)), key=lambda place: -int(self.lengths[whole[place][0]]))[:1]
        whole = [whole[place] for place in longest_first] + [
            step for i, step in enumerate(whole) if i not in longest_first
        ]
        yield from (int(place) for step in whole + rest for place in step)
