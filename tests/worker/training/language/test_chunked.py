"""The loss that sees logits some rows at a time is the loss over all of them: same value, same gradients.

Legend: N kept tokens, b of them in one block, D hidden width, V vocabulary.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from core.methods import LogitsMethod
from worker.training.language.chunked import Compared, Divergence, Terms, chunked_loss, rows_at_once, rows_of_block
from worker.training.objectives.registry import DIVERGENCES, objective_of

N, D, V = 23, 8, 41
SHARES = (0.7 / N, 0.3 / N)
TEMPERATURE = 2.0


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head() -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(D, V)


def divergence_of(name: str, teacher_NV: Tensor) -> Divergence:
    objective = objective_of(LogitsMethod.model_validate({"divergence": name}))

    def divergence(chunk: slice) -> Compared:
        def compared(student_bV: Tensor, rows: slice) -> Tensor:
            return objective(student_bV, teacher_NV[chunk][rows], None, temperature=TEMPERATURE)

        return compared

    return divergence


def terms_of(name: str | None, lm_head: nn.Module) -> Terms:
    targets_N = torch.arange(N) % V
    divergence = divergence_of(name, drawn(N, V, seed=2)) if name is not None else None
    return Terms(lm_head, targets_N, divergence, *SHARES, "fp32")


def plain_loss(hidden_ND: Tensor, terms: Terms) -> Tensor:
    """The definition: every logit at once."""
    logits_NV = terms.head(hidden_ND)
    ce = cross_entropy(logits_NV, terms.targets, reduction="sum")
    kd = terms.divergence(slice(0, N))(logits_NV, slice(0, N)) if terms.divergence is not None else torch.zeros(())
    return terms.kd_share * kd + terms.ce_share * ce


def gradients(loss: Tensor, hidden_ND: Tensor, lm_head: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [hidden_ND, *lm_head.parameters()]))


@pytest.mark.parametrize("rows", [(1, 1), (7, 3), (7, 100), (N, 4), (1000, N), (None, None)])
@pytest.mark.parametrize("name", [None, *sorted(DIVERGENCES)])
def test_value_and_gradients_are_those_of_the_whole(name: str | None, rows: tuple[int | None, int | None]) -> None:
    lm_head, hidden_ND = head(), drawn(N, D, seed=1).requires_grad_()
    terms = terms_of(name, lm_head)
    loss, _, _ = chunked_loss(hidden_ND, terms, *rows)
    plain = plain_loss(hidden_ND, terms)
    torch.testing.assert_close(loss, plain, atol=1e-5, rtol=1e-5)
    for own, wanted in zip(gradients(loss, hidden_ND, lm_head), gradients(plain, hidden_ND, lm_head), strict=True):
        torch.testing.assert_close(own, wanted, atol=1e-5, rtol=1e-5)


def test_the_parts_are_unweighted_sums() -> None:
    lm_head, hidden_ND = head(), drawn(N, D, seed=1)
    terms = terms_of("forward_kl", lm_head)
    loss, ce, kd = chunked_loss(hidden_ND, terms, 5)
    assert loss.item() == pytest.approx((SHARES[0] * kd + SHARES[1] * ce).item(), rel=1e-6)
    assert ce.item() == pytest.approx(cross_entropy(lm_head(hidden_ND), terms.targets, reduction="sum").item())


def test_what_is_made_of_the_loss_reaches_the_gradient() -> None:
    lm_head, hidden_ND = head(), drawn(N, D, seed=1).requires_grad_()
    terms = terms_of("jsd", lm_head)
    once = gradients(chunked_loss(hidden_ND, terms, 5)[0], hidden_ND, lm_head)
    threefold = gradients(3 * chunked_loss(hidden_ND, terms, 5)[0], hidden_ND, lm_head)
    for one, three in zip(once, threefold, strict=True):
        torch.testing.assert_close(3 * one, three)


def test_a_head_that_does_not_learn_gets_no_gradient() -> None:
    lm_head, hidden_ND = head().requires_grad_(False), drawn(N, D, seed=1).requires_grad_()
    terms = terms_of("reverse_kl", lm_head)
    chunked_loss(hidden_ND, terms, 5)[0].backward()
    assert all(parameter.grad is None for parameter in lm_head.parameters())
    (wanted,) = torch.autograd.grad(plain_loss(hidden_ND, terms), [hidden_ND])
    torch.testing.assert_close(hidden_ND.grad, wanted, atol=1e-5, rtol=1e-5)


def test_keeping_nothing_costs_nothing() -> None:
    lm_head, hidden_ND = head(), torch.zeros(0, D).requires_grad_()
    terms = Terms(lm_head, torch.zeros(0, dtype=torch.long), None, *SHARES, "fp32")
    loss, _, _ = chunked_loss(hidden_ND, terms)
    loss.backward()
    assert loss.item() == 0
    assert all(
        not gradient.any()
        for gradient in (parameter.grad for parameter in lm_head.parameters())
        if gradient is not None
    )


class Largest(TorchDispatchMode):
    """Sees how many elements the largest tensor has that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.numel())
        return made


def test_no_more_logits_exist_than_those_of_one_chunk() -> None:
    lm_head, hidden_ND = head(), drawn(400, D, seed=1).requires_grad_()
    terms = Terms(lm_head, torch.zeros(400, dtype=torch.long), None, 0.0, 1.0, "fp32")
    with Largest() as seen:
        chunked_loss(hidden_ND, terms, 10)[0].backward()
    assert 10 * V <= seen.elements <= 400 * D < 400 * V
    with Largest() as seen:
        plain_loss(hidden_ND, terms).backward()
    assert seen.elements >= 400 * V


def test_a_chunk_has_at_most_32_million_logits_and_a_block_half_a_million_whatever_the_vocabulary() -> None:
    for vocabulary in (32_000, 49_152, 151_936, 262_144):
        assert 2**24 < rows_at_once(vocabulary) * vocabulary <= 2**25
        assert 2**18 <= rows_of_block(vocabulary) * vocabulary <= 2**19
    assert rows_at_once(300) == 1024
    assert rows_at_once(10**9) == 16


class Widest(TorchDispatchMode):
    """Sees how many rows of float32 logits the largest tensor has that any operation makes."""

    rows = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, Tensor) and one.dtype == torch.float32 and one.ndim == 2 and one.shape[1] == V:
                self.rows = max(self.rows, len(one))
        return made


def test_in_float32_no_more_logits_exist_than_those_of_one_block() -> None:
    lm_head, hidden_ND = head(), drawn(40, D, seed=1).bfloat16().requires_grad_()
    terms = Terms(lm_head, torch.zeros(40, dtype=torch.long), None, 0.0, 1.0, "bf16")
    with Widest() as seen:
        chunked_loss(hidden_ND, terms, 20, 4)[0].backward()
    assert seen.rows == 4
