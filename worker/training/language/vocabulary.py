"""Whether two models speak of the same tokens, so that their logits can be compared."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from core.errors import TokenizersDiffer
from core.vocabulary import difference
from worker.training.language.scripts import Mask, Scripts, without


def check_same_tokens(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, name: str) -> None:
    """Check that no id means two tokens and no token has two ids. One may know more tokens than the other.

    Raises:
        TokenizersDiffer: the two disagree; `name` is the teacher's.
    """
    differs = difference(student.get_vocab(), teacher.get_vocab())
    if differs is not None:
        raise TokenizersDiffer(name, differs)


def shared_vocabulary(sizes: Sequence[int]) -> int:
    """Return how many ids all models have logits for: families pad their vocabularies to different round numbers."""
    return min(sizes)


def aligned(student: Scripts, teachers: Sequence[Scripts], names: Sequence[str]) -> tuple[Scripts, list[Scripts]]:
    """Return scripts whose targets are the same tokens for the student and for every teacher.

    Prompts may differ (each model has its own chat template), so that a completion may be cut earlier for one than for
    another: the targets that all of them read are kept.

    Raises:
        TokenizersDiffer: a completion is written with other tokens for a teacher than for the student.
    """
    if all(teacher is student for teacher in teachers):
        return student, list(teachers)
    every = [student, *teachers]
    surplus = [np.zeros(len(one.ids), dtype=bool) for one in every]
    for row in range(len(student.starts) - 1):
        found = [one.targets(row) for one in every]
        shared = min(len(ids) for ids in found)
        for ids, name in zip(found[1:], names, strict=True):
            if not np.array_equal(found[0][:shared], ids[:shared]):
                raise TokenizersDiffer(name, f"the completion of example {row + 1} is written with other tokens")
        for one, mask in zip(every, surplus, strict=True):
            _drop_beyond(one, row, shared, mask)
    own, *theirs = [without(one, mask) for one, mask in zip(every, surplus, strict=True)]
    return own, theirs


def _drop_beyond(scripts: Scripts, row: int, shared: int, surplus: Mask) -> None:
    start = int(scripts.starts[row])
    targets = np.flatnonzero(scripts.is_target[start : int(scripts.starts[row + 1])])
    surplus[start + targets[shared:]] = True
