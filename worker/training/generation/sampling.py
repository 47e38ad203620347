"""Choosing the next token, with randomness that belongs to the sample and not to the batch.

Shapes: B sequences, T positions, V vocabulary.
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
    TopPLogitsWarper,
)

from core.methods import GenerationSpec


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
    cumulative_BV = scores_BV.softmax(dim=-1).double().cumsum(dim=-1)
    whole_B1 = cumulative_BV[:, -1:]
    token_B = torch.searchsorted(cumulative_BV, uniforms_B[:, None] * whole_B1, right=True)[:, 0]
    # Rounding could otherwise carry a uniform near 1 past the last token that has any probability.
    last_possible_B = (cumulative_BV < whole_B1).sum(dim=-1)
    return torch.minimum(token_B, last_possible_B)


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
        steps.append(TopPLogitsWarper(spec.top_p))
    if spec.min_p:
        steps.append(MinPLogitsWarper(spec.min_p))
    steps.append(Draw(uniforms_BT, prompt_width))
    return steps
