"""How many held-out questions a model answers rightly, by the verifier that chose what was learned."""

from collections.abc import Callable, Sequence

import numpy as np

from core.methods import GenerationSpec, SequenceMethod
from worker.training.generation.mathematics import Mathematician
from worker.training.generation.samples import Part, Prompt
from worker.training.generation.sequence import batches
from worker.training.generation.verifiers import verifier_of
from worker.training.generation.writer import Writer
from worker.training.language.samples import spread

VERIFIED = 128
"""Held-out prompts that each model answers."""


def verified_prompts(method: SequenceMethod, prompts: Sequence[Prompt], held_out: Part) -> list[Prompt]:
    """Return the held-out prompts whose right answer is known, at most so many; none without a verifier."""
    verifier = method.filters.verifier
    if verifier is None:
        return []
    needs_answer = verifier.type != "json_schema"
    known = [
        prompt
        for prompt in prompts
        if prompt.part == held_out and (not needs_answer or (prompt.answer and prompt.answer.strip()))
    ]
    return [known[place] for place in spread(np.arange(len(known)), VERIFIED)]


def likeliest(spec: GenerationSpec, *, is_teacher: bool, is_chat: bool) -> GenerationSpec:
    """Return how a model is asked: once, always taking the likeliest token; a student without the teacher's orders."""
    asked = {"temperature": 0.0, "samples_per_prompt": 1, "chat": is_chat}
    return spec.model_copy(update=asked if is_teacher else {**asked, "system_prompt": None})


def pass_rate(
    method: SequenceMethod, writer: Writer, prompts: Sequence[Prompt], each_token: Callable[[], None]
) -> float | None:
    """Return the share of right answers; None where there is no prompt to answer. `each_token` may raise to stop."""
    if not prompts or method.filters.verifier is None:
        return None
    answers = {prompt.index: prompt.answer for prompt in prompts}
    right = 0
    with Mathematician() as mathematician:
        verifier = verifier_of(method.filters.verifier, mathematician)
        for batch in batches(writer, prompts, 1, method.generation.batch_size):
            samples = writer.write(batch, each_token)
            right += sum(verifier.is_right(sample.text, answers[sample.prompt]) for sample in samples)
    return right / len(prompts)
