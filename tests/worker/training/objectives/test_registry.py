"""The laws that every objective obeys; whoever adds one to the registry is tested by them."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.methods import LogitsMethod
from worker.training.objectives.registry import DIVERGENCES, HIDDEN, objective_of

NAMES = sorted(DIVERGENCES)
SCALED_BY_SQUARE = [name for name in NAMES if name != "tvd"]


def objective(name: str) -> Callable[..., Tensor]:
    return objective_of(LogitsMethod.model_validate({"divergence": name}))


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradient(name: str, student: Tensor, teacher: Tensor, mask: Tensor, temperature: float) -> Tensor:
    leaf = student.clone().requires_grad_()
    objective(name)(leaf, teacher, mask, temperature=temperature).backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_student_costs_nothing(name: str) -> None:
    teacher = logits(5, 7)
    loss = objective(name)(teacher.clone(), teacher, torch.ones(5, dtype=torch.bool), temperature=2.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mse"])
def test_logits_may_be_shifted_by_a_constant(name: str) -> None:
    student, teacher, mask = logits(5, 7), logits(5, 7, seed=1), torch.ones(5, dtype=torch.bool)
    plain = objective(name)(student, teacher, mask, temperature=2.0)
    torch.testing.assert_close(objective(name)(student + 3, teacher - 5, mask, temperature=2.0), plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 11)])
def test_it_is_a_positive_float32_scalar_even_from_bfloat16(name: str, shape: tuple[int, ...]) -> None:
    student, teacher = logits(*shape).bfloat16(), logits(*shape, seed=1).bfloat16()
    loss = objective(name)(student, teacher, torch.ones(shape[:-1], dtype=torch.bool), temperature=1.5)
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert loss.item() > 0


@pytest.mark.parametrize("name", NAMES)
def test_masked_positions_do_not_matter_whatever_they_hold(name: str) -> None:
    student, teacher = logits(2, 4, 6), logits(2, 4, 6, seed=1)
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])
    plain = objective(name)(student, teacher, mask, temperature=2.0)
    wild = student.clone()
    wild[~mask] = float("nan")
    assert objective(name)(wild, teacher.masked_fill(~mask.unsqueeze(-1), float("inf")), mask, temperature=2.0) == plain
    assert gradient(name, wild, teacher, mask, 2.0)[~mask].eq(0).all()


@pytest.mark.parametrize("name", NAMES)
def test_halves_add_up_to_the_whole(name: str) -> None:
    student, teacher, mask = logits(6, 4), logits(6, 4, seed=1), torch.ones(6, dtype=torch.bool)
    whole = objective(name)(student, teacher, mask, temperature=2.0)
    halves = [
        objective(name)(student[part], teacher[part], mask[part], temperature=2.0) for part in (slice(2), slice(2, 6))
    ]
    torch.testing.assert_close(sum(halves), whole)


@pytest.mark.parametrize("name", NAMES)
def test_keeping_nothing_costs_nothing_and_teaches_nothing(name: str) -> None:
    nothing = torch.zeros(3, dtype=torch.bool)
    assert objective(name)(logits(3, 4), logits(3, 4, seed=1), nothing, temperature=2.0).item() == 0
    assert gradient(name, logits(3, 4), logits(3, 4, seed=1), nothing, 2.0).eq(0).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_flows_into_the_teacher(name: str) -> None:
    student, teacher = logits(3, 4).requires_grad_(), logits(3, 4, seed=1).requires_grad_()
    objective(name)(student, teacher, torch.ones(3, dtype=torch.bool), temperature=2.0).backward()
    assert teacher.grad is None


@given(temperature=st.floats(0.5, 20), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_the_gradient_of_forward_kl_is_t_times_the_difference_of_probabilities(temperature: float, seed: int) -> None:
    student, teacher = logits(3, 5, seed=seed), logits(3, 5, seed=seed + 1)
    expected = temperature * ((student / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    found = gradient("forward_kl", student, teacher, torch.ones(3, dtype=torch.bool), temperature)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_gradient_of_mse_is_the_difference_over_the_classes_at_any_temperature() -> None:
    student, teacher, mask = logits(3, 5), logits(3, 5, seed=1), torch.ones(3, dtype=torch.bool)
    for temperature in (1.0, 7.0):
        torch.testing.assert_close(gradient("mse", student, teacher, mask, temperature), (student - teacher) / 5)


def test_two_classes_have_the_values_that_are_computed_by_hand() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])  # 1/2, 1/2 against 3/4, 1/4
    by_hand = {
        "forward_kl": 0.75 * math.log(1.5) + 0.25 * math.log(0.5),
        "reverse_kl": 0.5 * math.log(2 / 3) + 0.5 * math.log(2.0),
        "tvd": 0.25,
        "mse": 0.5 * math.log(3.0) ** 2 / 2,
        "jsd": 0.5 * (0.75 * math.log(0.75 / 0.625) + 0.25 * math.log(0.25 / 0.375))
        + 0.5 * (0.5 * math.log(0.5 / 0.625) + 0.5 * math.log(0.5 / 0.375)),
    }
    for name, value in by_hand.items():
        found = objective(name)(student, teacher, torch.ones(1, dtype=torch.bool), temperature=1.0).item()
        assert found == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("name", SCALED_BY_SQUARE)
def test_the_square_of_t_keeps_the_size_of_gradients(name: str) -> None:
    student, teacher, mask = logits(50, 6), logits(50, 6, seed=1), torch.ones(50, dtype=torch.bool)
    sizes = [gradient(name, student, teacher, mask, temperature).norm().item() for temperature in (10.0, 20.0, 40.0)]
    assert max(sizes) / min(sizes) < 1.25


def test_total_variation_grows_with_t_because_it_is_of_first_order() -> None:
    student, teacher, mask = logits(50, 6), logits(50, 6, seed=1), torch.ones(50, dtype=torch.bool)
    small, large = (gradient("tvd", student, teacher, mask, temperature).norm().item() for temperature in (20.0, 40.0))
    assert large / small == pytest.approx(2.0, rel=0.1)


def test_mse_is_the_limit_of_forward_kl_at_a_high_temperature() -> None:
    student, teacher, mask = logits(4, 5), logits(4, 5, seed=1), torch.ones(4, dtype=torch.bool)
    student, teacher = student - student.mean(-1, keepdim=True), teacher - teacher.mean(-1, keepdim=True)
    limit = objective("mse")(student, teacher, mask, temperature=1.0)
    assert objective("forward_kl")(student, teacher, mask, temperature=300.0).item() == pytest.approx(
        limit.item(), rel=0.02
    )


@given(beta=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_jsd_is_bounded_and_symmetric_under_exchange_of_sides(beta: float, seed: int) -> None:
    one, other, mask = 5 * logits(1, 5, seed=seed), 5 * logits(1, 5, seed=seed + 1), torch.ones(1, dtype=torch.bool)
    forth = partial(DIVERGENCES["jsd"], temperature=1.0)(one, other, mask, beta=beta).item()
    back = partial(DIVERGENCES["jsd"], temperature=1.0)(other, one, mask, beta=1 - beta).item()
    entropy = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
    assert -1e-6 <= forth <= entropy + 1e-5
    assert forth == pytest.approx(back, abs=1e-5)


@given(st.sampled_from(NAMES), st.floats(0.3, 50), st.integers(2, 30), st.integers(0, 10_000), st.floats(0, 200))
@settings(max_examples=80)
def test_it_is_never_negative_and_its_gradient_is_finite(
    name: str, temperature: float, classes: int, seed: int, scale: float
) -> None:
    student, teacher = scale * logits(3, classes, seed=seed), scale * logits(3, classes, seed=seed + 1)
    mask = torch.ones(3, dtype=torch.bool)
    loss = objective(name)(student, teacher, mask, temperature=temperature).item()
    assert loss >= -1e-4 * temperature**2
    assert gradient(name, student, teacher, mask, temperature).isfinite().all()


@pytest.mark.parametrize("name", sorted(HIDDEN))
def test_hidden_objectives_obey_the_same_laws(name: str) -> None:
    student, teacher = logits(2, 3, 8), logits(2, 3, 8, seed=1)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    hidden = HIDDEN[name]
    assert hidden(teacher, teacher, mask).item() == pytest.approx(0, abs=1e-5)
    loss = hidden(student.bfloat16(), teacher.bfloat16(), mask)
    assert loss.dtype == torch.float32
    assert loss.item() > 0
    torch.testing.assert_close(
        hidden(student[:1], teacher[:1], mask[:1]) + hidden(student[1:], teacher[1:], mask[1:]),
        hidden(student, teacher, mask),
    )
    wild = student.masked_fill(~mask.unsqueeze(-1), float("nan")).requires_grad_()
    hidden(wild, teacher, mask).backward()
    assert wild.grad is not None
    assert wild.grad.isfinite().all()
    leaf = student.clone().requires_grad_()
    nothing = hidden(leaf, teacher, torch.zeros_like(mask))
    nothing.backward()
    assert nothing.item() == 0
    assert leaf.grad is not None
    assert leaf.grad.eq(0).all()


def test_cosine_does_not_mind_length_and_mse_does() -> None:
    states, mask = logits(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)
    assert HIDDEN["cosine"](3 * states, states, mask).item() == pytest.approx(0, abs=1e-5)
    assert HIDDEN["mse"](3 * states, states, mask).item() == pytest.approx(
        4 * states.square().sum().item() / 8, rel=1e-5
    )


@pytest.mark.parametrize("name", ["forward_kl", "jsd", "tvd"])
def test_words_that_the_teacher_rules_out_have_no_share(name: str) -> None:
    student, teacher, mask = logits(3, 6), logits(3, 6, seed=1), torch.ones(3, dtype=torch.bool)
    teacher[:, 4:] = float("-inf")
    found = gradient(name, student, teacher, mask, 2.0)
    nearly = gradient(name, student, teacher.masked_fill(teacher.isinf(), -1e4), mask, 2.0)
    torch.testing.assert_close(found, nearly)
    value = objective(name)(student, teacher, mask, temperature=2.0)
    torch.testing.assert_close(value, objective(name)(student, teacher.clamp(min=-1e4), mask, temperature=2.0))


@given(offset=st.floats(-1e4, 1e4), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_forward_kl_is_that_of_the_probabilities_however_far_the_logits_lie(offset: float, seed: int) -> None:
    student, teacher = 3 * logits(4, 9, seed=seed), 3 * logits(4, 9, seed=seed + 1)
    p, q = teacher.double().softmax(-1), student.double().softmax(-1)
    expected = (p * (p.log() - q.log())).sum().item()
    found = objective("forward_kl")(student + round(offset), teacher - round(offset), None, temperature=1.0).item()
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-2)
