"""What models write after held-out prompts, always the likeliest token, and how fast.

Legend: T positions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from worker.training.device import Precision, device
from worker.training.language.scripts import Scripts
from worker.training.language.twin import Twin
from worker.training.split import Rows

SAMPLES = 10
SAMPLE_TOKENS = 48
WRITTEN_TEXT = 5
"""Texts that are read in the time in which one is written, token by token."""


@dataclass(frozen=True)
class Written:
    """What one model wrote, and how many tokens a second it took."""

    tokens: list[list[int]]
    tokens_per_second: float


def spread(rows: Rows, count: int) -> Rows:
    """Return at most `count` of the rows, evenly spread."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


@torch.inference_mode()
def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scripts: Scripts,
    rows: Rows,
    precision: Precision,
    look: Callable[[], None] = lambda: None,
) -> Written:
    """Let a model go on from the prompts of some examples, one after the other; no random number is drawn.

    Args:
        precision: in bf16 a copy of the model writes, so that no weight is cast for every token.
        look: called before each text.
    """
    any_model: Any = Twin(precision).of(model.to(device()))  # type: ignore[arg-type]
    any_model.eval()
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=SAMPLE_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    tokens, seconds = [], 0.0
    for row in rows:
        look()
        prompt_1T = scripts.prompt(int(row)).to(device())
        started = time.perf_counter()
        whole_1T = any_model.generate(
            input_ids=prompt_1T, attention_mask=torch.ones_like(prompt_1T), generation_config=config
        )
        seconds += time.perf_counter() - started
        tokens.append([int(token) for token in whole_1T[0, prompt_1T.shape[1] :]])
    return Written(tokens, sum(len(one) for one in tokens) / seconds)


def distinct_2(texts: Sequence[Sequence[int]]) -> float | None:
    """Return different pairs of neighbouring tokens over all pairs (Li et al. 2016, arXiv:1510.03055, section 5)."""
    pairs = [pair for text in texts for pair in pairwise(text)]
    return len(set(pairs)) / len(pairs) if pairs else None
