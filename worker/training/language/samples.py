"""What models write after held-out prompts, always the likeliest token, and how fast."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.methods import GenerationSpec
from worker.training.device import Precision, device
from worker.training.generation.writer import ModelWriter
from worker.training.language.scripts import Scripts
from worker.training.language.twin import Twin
from worker.training.models import positions_of
from worker.training.split import Rows

SAMPLES = 10
ALONE = 2
WRITTEN_TEXT = 2
"""Texts that are read in the time in which one is written."""
SAMPLE_TOKENS = 48
WARM_UP_TOKENS = 2
"""One after the prompt, and one after a token: both kinds of step."""
UNBOUNDED = 1 << 30
KEY = (0, 0)
"""What a draw would depend on; none is made."""


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


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scripts: Scripts,
    rows: Rows,
    precision: Precision,
    look: Callable[[], None] = lambda: None,
) -> Written:
    """Let a model go on from the prompts of some examples; no random number is drawn.

    A prompt that leaves too few of the model's positions loses its beginning.

    The first texts are written each for itself, which tells how fast a text is written for somebody who waits for it;
    the others together, which takes a fraction of the time.

    Args:
        precision: in bf16 a copy of the model writes, so that no weight is cast for every token.
        look: called before each token; it may raise to stop.
    """
    twin = Twin(precision).of(model.to(device()))  # type: ignore[arg-type]
    room = positions_of(model) or UNBOUNDED
    likeliest = GenerationSpec(temperature=0, max_new_tokens=min(SAMPLE_TOKENS, room - 1), chat=False)
    writer = ModelWriter(twin.train(False), tokenizer, likeliest, seed=0)
    longest = room - likeliest.max_new_tokens
    prompts = [scripts.prompt(int(row))[0].tolist()[-longest:] for row in rows]
    # What a first step costs once, such as buffers and threads, says nothing of how fast a model writes.
    short = likeliest.model_copy(update={"max_new_tokens": min(WARM_UP_TOKENS, likeliest.max_new_tokens)})
    ModelWriter(twin, tokenizer, short, seed=0).complete(prompts[:1], [KEY], look)
    started = time.perf_counter()
    alone = [writer.complete([prompt], [KEY], look)[0] for prompt in prompts[:ALONE]]
    seconds = time.perf_counter() - started
    together = writer.complete(prompts[ALONE:], [KEY] * len(prompts[ALONE:]), look)
    speed = sum(len(one.token_ids) for one in alone) / seconds
    return Written([one.token_ids for one in [*alone, *together]], speed)


def distinct_2(texts: Sequence[Sequence[int]]) -> float | None:
    """Return different pairs of neighbouring tokens over all pairs (Li et al. 2016, arXiv:1510.03055, section 5)."""
    pairs = [pair for text in texts for pair in pairwise(text)]
    return len(set(pairs)) / len(pairs) if pairs else None
