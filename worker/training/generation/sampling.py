"""Choosing the next token, with randomness that belongs to the sample and not to the batch.

Shapes: B sequences, T positions, V vocabulary, K likeliest tokens of it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from core.methods import GenerationSpec

LIKELIEST = 512
"""Tokens among which a nucleus is looked for before all are sorted: a language model's is nearly always smaller."""


def uniforms(seed: int, keys: Sequence[tuple[int, int]], tokens: int) -> Tensor:
    """Return one number in [0, 1) per sample and token, float64 [B, T]; a row depends on seed and key alone."""
    rows = [np.random.default_rng([seed, prompt, sample]).random(tokens) for prompt, sample in keys]
    return torch.from_numpy(np.stack(rows))


class Draw(LogitsProcessor):
    """Draws a token by inverting the cumulative distribution, and leaves it as the only possible one.

    Placed last and followed by the greedy choice of `generate`, it samples as multinomial would, but from numbers that
    are each sample's own.
    """

    def __init__(self, uniforms_BT: Tensor, prompt_width: int) -> None:
        self.uniforms_BT, self.prompt_width = uniforms_BT, prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        at = input_ids.shape[1] - self.prompt_width
        drawn_B1 = drawn(scores, self.uniforms_BT[:, at].to(scores.device))[:, None]
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn_B1, 0.0)


def drawn(scores_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """Return the token ids [B] at which the cumulative probability first exceeds the uniforms."""
    # Of a nucleus' scores nearly all are -inf, and to sum zeros over a whole vocabulary takes most of the time.
    possible_K = (scores_BV > -torch.inf).any(dim=0).nonzero()[:, 0]
    scores_BK = scores_BV if len(possible_K) == scores_BV.shape[-1] else scores_BV[:, possible_K]
    cumulative_BK = scores_BK.softmax(dim=-1).double().cumsum(dim=-1)
    whole_B1 = cumulative_BK[:, -1:]
    place_B = torch.searchsorted(cumulative_BK, uniforms_B[:, None] * whole_B1, right=True)[:, 0]
    # Rounding could otherwise carry a uniform near 1 past the last token that has any probability.
    last_possible_B = (cumulative_BK < whole_B1).sum(dim=-1)
    return possible_K[torch.minimum(place_B, last_possible_B)]


class Nucleus(LogitsProcessor):
    """Keeps the likeliest tokens whose probabilities first reach `top_p` (Holtzman et al. 2020, arXiv:1904.09751, 3.1).

    What transformers' TopPLogitsWarper keeps, up to the rounding of sums. To sort 50,000 words for every token takes
    longer than a small model takes to think of it.
    """

    def __init__(self, top_p: float) -> None:
        self.top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        shaped_BV, is_whole_B = self._among(scores, min(LIKELIEST, scores.shape[-1]))
        if not is_whole_B.all():
            shaped_BV[~is_whole_B], _ = self._among(scores[~is_whole_B], scores.shape[-1])
        return shaped_BV

    def _among(self, scores_BV: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the scores with all but the nucleus at -inf, and where `count` tokens hold all of it, bool [B]."""
        best_BK, ids_BK = scores_BV.topk(count, dim=-1)
        sums_BK = (best_BK - scores_BV.logsumexp(dim=-1, keepdim=True)).exp().cumsum(dim=-1)
        is_outside_BK = torch.zeros_like(best_BK, dtype=torch.bool)
        is_outside_BK[:, 1:] = sums_BK[:, :-1] >= self.top_p
        nucleus_BK = best_BK.masked_fill(is_outside_BK, -torch.inf)
        shaped_BV = torch.full_like(scores_BV, -torch.inf).scatter_(-1, ids_BK, nucleus_BK)
        return shaped_BV, sums_BK[:, -1] >= self.top_p


def processors(
    spec: GenerationSpec, uniforms_BT: Tensor | None, padding_B: Tensor, prompt_width: int
) -> LogitsProcessorList:
    """Return what shapes the scores, in the order of transformers' own sampling.

    Args:
        spec: temperature 0 leaves the choice to the largest score.
        uniforms_BT: from `uniforms`; None where the temperature is 0.
        padding_B: how many positions of each prompt are padding: a token that pads must not count as repeated.
        prompt_width: T of the padded prompts.
    """
    steps = LogitsProcessorList()
    if spec.repetition_penalty != 1.0:
        steps.append(RepetitionPenaltyLogitsProcessor(spec.repetition_penalty, prompt_ignore_length=padding_B))
    if uniforms_BT is None:
        return steps
    if spec.temperature != 1.0:
        steps.append(TemperatureLogitsWarper(spec.temperature))
    if spec.top_k is not None:
        steps.append(TopKLogitsWarper(spec.top_k))
    if spec.top_p < 1.0:
        steps.append(Nucleus(spec.top_p))
    if spec.min_p:
        steps.append(MinPLogitsWarper(spec.min_p))
    steps.append(Draw(uniforms_BT, prompt_width))
    return steps
