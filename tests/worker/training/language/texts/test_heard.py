"""What a server tells of its probabilities is what the student is drawn to: all that it told, and no more."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from core.methods import LogitsMethod
from worker.training.language.signal import coarse_divergence
from worker.training.language.texts.heard import classes_of, told_of
from worker.training.objectives.registry import objective_of

FORWARD_KL = objective_of(LogitsMethod())
EVERY = slice(None)
VOCABULARY = 11


def logits(seed: int, rows: int = 5) -> Tensor:
    return 2 * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def told(log_p_nV: Tensor, words: int) -> list[tuple[int, list[tuple[int, float]]]]:
    """The likeliest words of each row, as a server says them."""
    values, ids = log_p_nV.topk(words, dim=-1)
    rows = zip(ids.tolist(), values.tolist(), strict=True)
    return [(some[0], list(zip(some, log_ps, strict=True))) for some, log_ps in rows]


def divergence(student_nV: Tensor, teacher_nV: Tensor, told_words: int, words: int) -> Tensor:
    classes = [classes_of(place, words) for place in told(log_softmax(teacher_nV, dim=-1), told_words)]
    ids, log_p = (torch.tensor(np.array(part)) for part in zip(*classes, strict=True))
    return coarse_divergence(ids, log_p, VOCABULARY, FORWARD_KL, 1.0)(EVERY)(student_nV, EVERY)


@given(st.integers(0, 1000), st.integers(1, VOCABULARY - 1))
@settings(max_examples=30)
def test_the_more_is_told_the_nearer_to_the_whole_and_never_beyond(seed: int, words: int) -> None:
    teacher, student = logits(seed), logits(seed + 1)
    whole = FORWARD_KL(student.float(), teacher.float(), None, temperature=1.0)
    some = divergence(student, teacher, words, words)
    assert float(some) <= float(whole) + 1e-4
    assert float(divergence(student, teacher, VOCABULARY - 1, VOCABULARY - 1)) == pytest.approx(float(whole), abs=1e-4)


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=20)
def test_a_student_that_agrees_has_nothing_to_learn(seed: int, words: int) -> None:
    teacher = logits(seed)
    assert float(divergence(teacher, teacher, words, words)) == pytest.approx(0.0, abs=1e-5)


def test_a_place_of_which_nothing_is_told_says_what_was_drawn() -> None:
    student = logits(5).requires_grad_()
    targets = torch.tensor([1, 4, 10, 0, 7])
    classes = [classes_of((target, [(target, 0.0)]), 3) for target in targets.tolist()]
    ids, log_p = (torch.tensor(np.array(part)) for part in zip(*classes, strict=True))
    found = coarse_divergence(ids, log_p, VOCABULARY, FORWARD_KL, 1.0)(EVERY)(student, EVERY)
    wanted = cross_entropy(student, targets, reduction="sum")
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)
    own, theirs = (torch.autograd.grad(loss, student)[0] for loss in (found, wanted))
    assert torch.allclose(own, theirs, atol=1e-4)


def test_what_the_student_reads_otherwise_is_not_taken_for_its_own() -> None:
    places = [(3, [(3, -0.1), (4, -3.0)]), (5, [(5, -0.2), (1, -2.0)]), (6, [(6, -0.3), (2, -2.0)])]

    def told(*targets: int, told_places: list[Any] = places) -> list[bool]:
        found = told_of(told_places, np.array(targets, dtype=np.int32), VOCABULARY, 2)
        assert all(place is None or place[0] == target for place, target in zip(found, targets, strict=True))
        return [place is not None for place in found]

    assert told(3, 5, 6, 2) == [True, True, True, False], "of the token that ends the text nothing was told"
    assert told(3, 4, 6) == [True, False, False], "behind another token all else is another text"
    assert told(3, 5) == [True, True]
    assert told(3, told_places=[(3, [(3, -0.1), (99, -4.0)])]) == [False], "a token that the student has not"
    assert told(3, 5, told_places=[(3, [(3, -0.1)]), places[1]]) == [False, True], "too little was told"
    assert told(3, told_places=[]) == [False]
