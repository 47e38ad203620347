"""Sampling: what is drawn has the distribution that the processed scores say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import TopPLogitsWarper

from tests.worker.training.generation.conftest import spec_of
from worker.training.generation.sampling import LIKELIEST, Draw, Nucleus, drawn, processors, uniforms

DRAWS = 20_000


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 1.7, "top_p": 0.8},
        {"top_k": 3},
        {"min_p": 0.2},
        {"temperature": 1.3, "top_k": 6, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.4},
    ],
)
def test_draws_follow_the_softmax_of_the_processed_scores(changes: dict[str, float]) -> None:
    scores_V = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0])
    ids_BT = torch.tensor([[7, 2, 0]]).expand(DRAWS, -1)
    uniforms_BT = uniforms(11, [(prompt, 0) for prompt in range(DRAWS)], 1)
    steps = processors(spec_of(**changes), uniforms_BT, torch.ones(DRAWS, dtype=torch.long), prompt_width=3)
    shaped_BV = scores_V.expand(DRAWS, -1).clone()
    for step in steps[:-1]:
        shaped_BV = step(ids_BT, shaped_BV)
    assert isinstance(steps[-1], Draw)
    chosen_B = steps[-1](ids_BT, shaped_BV).argmax(dim=-1)
    counts_V = torch.bincount(chosen_B, minlength=8).double()
    expected_V = shaped_BV[0].double().softmax(-1) * DRAWS
    possible_V = expected_V > 0
    assert counts_V[~possible_V].sum() == 0
    expected = (expected_V[possible_V] / expected_V.sum() * DRAWS).numpy()
    assert chisquare(counts_V[possible_V].numpy(), expected).pvalue > 0.01


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("sharpness", [0.01, 1.0, 4.0])
def test_a_nucleus_is_that_of_transformers(top_p: float, sharpness: float) -> None:
    torch.manual_seed(0)
    scores_BV = torch.randn(8, 4 * LIKELIEST) * sharpness
    ids_BT = torch.zeros(8, 1, dtype=torch.long)
    ours_BV, theirs_BV = Nucleus(top_p)(ids_BT, scores_BV), TopPLogitsWarper(top_p)(ids_BT, scores_BV)
    differing_BV = torch.isfinite(ours_BV) != torch.isfinite(theirs_BV)
    assert differing_BV.sum(dim=-1).max() <= 1, "rounding may move the edge by a token"
    assert torch.equal(ours_BV[~differing_BV], theirs_BV[~differing_BV])
    assert torch.isfinite(ours_BV).sum(dim=-1).min() >= 1


def test_a_nucleus_of_equal_scores_is_cut_where_the_sum_is_reached() -> None:
    kept_BV = Nucleus(0.5)(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 8))
    assert torch.isfinite(kept_BV).sum() == 4


def test_padding_does_not_count_as_repeated() -> None:
    steps = processors(spec_of(temperature=0.0, repetition_penalty=2.0), None, torch.tensor([2, 0]), prompt_width=3)
    ids_BT = torch.tensor([[1, 1, 0], [1, 1, 0]])
    scores_BV = steps(ids_BT, torch.ones(2, 3))
    assert scores_BV.tolist() == [[0.5, 1.0, 1.0], [0.5, 0.5, 1.0]]


@given(st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20), st.floats(0, 1, exclude_max=True))
def test_nothing_impossible_is_ever_drawn(scores: list[float], uniform: float) -> None:
    scores_BV = torch.tensor([scores, scores])
    scores_BV[:, ::3] = -torch.inf
    scores_BV[:, len(scores) // 2] = 0.0
    edge = 1 - 2**-53
    tokens_B = drawn(scores_BV, torch.tensor([uniform, edge], dtype=torch.float64))
    assert torch.isfinite(scores_BV[0, tokens_B]).all()


def test_the_numbers_of_a_sample_are_its_own() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (10, 3)]
    together = uniforms(3, keys, 5)
    assert torch.equal(together, torch.cat([uniforms(3, [key], 5) for key in keys]))
    assert len(set(together.flatten().tolist())) == 20
    assert torch.equal(uniforms(3, keys, 9)[:, :5], together), "a longer limit changes nothing of the beginning"
