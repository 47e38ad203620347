"""The laws of a distance between distributions over different vocabularies.

Legend: N rows, V and W vocabularies.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.methods import LogitsMethod
from worker.training.objectives.registry import objective_of
from worker.training.objectives.uld import ascending, uld, uld_of_rows

seeds = st.integers(0, 10_000)
sizes = st.integers(1, 40)
scales = st.sampled_from([0.1, 1.0, 30.0])
few = settings(max_examples=30)


def logits(rows: int, words: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(rows, words, generator=torch.Generator().manual_seed(seed)) * scale


def shuffled(rows_NV: Tensor, seed: int) -> Tensor:
    return rows_NV[:, torch.randperm(rows_NV.shape[1], generator=torch.Generator().manual_seed(seed))]


def test_it_is_what_the_method_names() -> None:
    assert objective_of(LogitsMethod(alignment="uld")) is uld


@few
@given(seeds, sizes, scales)
def test_equal_sorted_distributions_are_no_distance_apart(seed: int, words: int, scale: float) -> None:
    student = logits(3, words, seed, scale)
    torch.testing.assert_close(uld_of_rows(student, shuffled(student, seed), 1.5), torch.zeros(3), atol=1e-6, rtol=0)


@few
@given(seeds, sizes, sizes, scales)
def test_it_is_symmetric_and_at_most_2(seed: int, words: int, others: int, scale: float) -> None:
    student, teacher = logits(3, words, seed, scale), logits(3, others, seed + 1, scale)
    there, back = uld_of_rows(student, teacher, 1.0), uld_of_rows(teacher, student, 1.0)
    torch.testing.assert_close(there, back)
    assert ((there >= 0) & (there <= 2 + 1e-5)).all()


@few
@given(seeds, sizes, sizes)
def test_the_order_of_either_vocabulary_does_not_matter(seed: int, words: int, others: int) -> None:
    student, teacher = logits(2, words, seed), logits(2, others, seed + 1)
    turned = uld_of_rows(shuffled(student, seed), shuffled(teacher, seed), 2.0)
    torch.testing.assert_close(turned, uld_of_rows(student, teacher, 2.0))


@few
@given(seeds, sizes, sizes, st.integers(1, 9))
def test_words_that_have_no_probability_change_nothing(seed: int, words: int, others: int, more: int) -> None:
    student, teacher = logits(2, words, seed), logits(2, others, seed + 1)
    padded = torch.cat([teacher, torch.full((2, more), float("-inf"))], dim=1)
    torch.testing.assert_close(uld_of_rows(student, padded, 2.0), uld_of_rows(student, teacher, 2.0))


@few
@given(seeds, sizes, sizes, sizes)
def test_no_way_round_is_shorter(seed: int, one: int, other: int, third: int) -> None:
    a, b, c = (logits(2, words, seed + place) for place, words in enumerate((one, other, third)))
    assert (uld_of_rows(a, c, 1.0) <= uld_of_rows(a, b, 1.0) + uld_of_rows(b, c, 1.0) + 1e-5).all()


def test_the_value_that_is_computed_by_hand() -> None:
    half = torch.tensor([[0.5, 0.5]]).log()
    three = torch.tensor([[0.2, 0.7, 0.1]]).log()
    assert uld_of_rows(half, three, 1.0).item() == pytest.approx(0.2 + 0.3 + 0.1)
    sure_of_one, of_any = torch.tensor([[100.0, 0.0]]), torch.zeros(1, 1000)
    assert uld_of_rows(sure_of_one, of_any, 1.0).item() == pytest.approx(2 * (1 - 1 / 1000))


def test_the_gradient_is_that_of_finite_differences() -> None:
    student, teacher = logits(3, 5, 1).requires_grad_(), logits(3, 8, 2)
    every = torch.ones(3, dtype=torch.bool)
    uld(student, teacher, every, temperature=1.5).backward()
    assert student.grad is not None
    step = 1e-3
    with torch.no_grad():
        for place in range(student.numel()):
            moved = torch.zeros(student.numel())
            moved[place] = step
            ends = [
                uld(student + sign * moved.view_as(student), teacher, every, temperature=1.5).item() for sign in (1, -1)
            ]
            assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(student.grad.flatten()[place].item(), abs=2e-3)


def test_it_is_a_float32_sum_over_kept_rows_whatever_the_others_hold() -> None:
    student, teacher = logits(4, 6, 1).bfloat16(), logits(4, 9, 2).bfloat16().requires_grad_()
    mask = torch.tensor([True, False, True, False])
    wild = student.clone().masked_fill(~mask[:, None], float("nan")).requires_grad_()
    loss = uld(wild, teacher, mask, temperature=2.0)
    assert (loss.dtype, loss.shape) == (torch.float32, ())
    torch.testing.assert_close(loss, uld_of_rows(student[mask], teacher[mask], 2.0).sum())
    loss.backward()
    assert teacher.grad is None
    assert wild.grad is not None
    assert wild.grad[~mask].eq(0).all()
    nothing = torch.zeros(4, dtype=torch.bool)
    assert uld(student, teacher, nothing, temperature=2.0).item() == 0


def test_rows_are_sorted_as_torch_sorts_them_and_gradients_go_back() -> None:
    values, weights = logits(3, 50, 1).requires_grad_(), logits(3, 50, 2)
    torch.testing.assert_close(ascending(values.detach()), values.detach().sort(dim=-1).values)
    (own,) = torch.autograd.grad((ascending(values) * weights).sum(), values)
    (wanted,) = torch.autograd.grad((values.sort(dim=-1).values * weights).sum(), values)
    torch.testing.assert_close(own, wanted)
