"""Going on from prompts, token by token: what is certain is told at once.

Legend: B choices, T positions, V vocabulary.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from core.methods import GenerationSpec
from core.serving import End, Line, Piece, Token, WriteAsk
from serving.loading import Writer
from serving.reading import encoded, prompt_line, room_for, token_of
from serving.texts import GrowingText
from worker.training.generation.sampling import processors, uniforms
from worker.training.generation.writer import left_padded

ROWS_AT_ONCE = 8

Tell = Callable[[Line], None]
"""Takes a line of the answer; raises where nobody listens any more."""


@dataclass
class Choice:
    """One text that is being written."""

    number: int
    text: GrowingText
    limit: int
    ids: list[int] = field(default_factory=list)
    reason: Literal["stop", "length"] | None = None
    """Why it is over, once it is."""

    def take(self, token: int, is_end: bool, told: tuple[Token, ...]) -> Iterator[Line]:
        """Go on by a token; yield what is to be told of it."""
        released = ""
        if is_end:
            self.reason, told = "stop", ()
        else:
            self.ids.append(token)
            released = self.text.add(token)
            if self.text.is_stopped:
                self.reason = "stop"
            elif len(self.ids) == self.limit:
                self.reason = "length"
        if self.reason is not None:
            released += self.text.rest()
        if released or told:
            yield Piece(choice=self.number, text=released, tokens=told)
        if self.reason is not None:
            yield End(choice=self.number, reason=self.reason, ids=tuple(self.ids))


def write(writer: Writer, ask: WriteAsk, tell: Tell, step: Callable[[], None]) -> float:
    """Answer line by line; return the seconds that writing took.

    A choice is drawn from numbers that depend on the seed, its prompt's place and its own number alone, as the texts of
    training are (worker.training.generation). `step` is called between two tokens.

    Raises:
        ChatTemplateUnusable, ContextExceeded, TokenUnknown, PromptEmpty: before anything is told.
    """
    prompts = [encoded(writer, ask.model.name, prompt) for prompt in ask.prompts]
    room = room_for(writer, prompts, ask)
    for number, ids in enumerate(prompts):
        tell(prompt_line(writer, number, ids, ask))
        step()
    if ask.generation is None:
        return 0.0
    spec = ask.generation.model_copy(update={"max_new_tokens": room})
    keys = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(spec.samples_per_prompt)]
    seconds = 0.0
    for start in range(0, len(keys), ROWS_AT_ONCE):
        began = time.perf_counter()
        _write_rows(writer, ask, spec, prompts, keys[start : start + ROWS_AT_ONCE], tell, step)
        seconds += time.perf_counter() - began
    return seconds


def _write_rows(
    writer: Writer,
    ask: WriteAsk,
    spec: GenerationSpec,
    prompts: Sequence[list[int]],
    keys: Sequence[tuple[int, int]],
    tell: Tell,
    step: Callable[[], None],
) -> None:
    rows = [prompts[prompt] for prompt, _ in keys]
    pad_id = writer.tokenizer.pad_token_id if writer.tokenizer.pad_token_id is not None else 0
    ids_BT, mask_BT = left_padded(rows, pad_id)
    width = ids_BT.shape[1]
    choices = [
        Choice(
            prompt * spec.samples_per_prompt + sample,
            GrowingText(writer.decode, prompts[prompt], spec.stop),
            spec.max_new_tokens,
        )
        for prompt, sample in keys
    ]
    assert spec.seed is not None, "the service draws one where the request has none"
    uniforms_BT = uniforms(spec.seed, keys, spec.max_new_tokens) if spec.temperature > 0 else None
    seen = Seen()
    steps = LogitsProcessorList([seen] if ask.logprobs is not None else [])
    if ask.frequency_penalty or ask.presence_penalty:
        steps.append(WrittenPenalty(ask.frequency_penalty, ask.presence_penalty, width))
    steps += processors(spec, uniforms_BT, width - mask_BT.sum(dim=1), width)
    device = writer.model.device
    with torch.inference_mode():
        writer.model.generate(  # type: ignore[operator]
            ids_BT.to(device),
            attention_mask=mask_BT.long().to(device),
            generation_config=_config(writer, spec, pad_id),
            logits_processor=steps,
            stopping_criteria=StoppingCriteriaList([Telling(writer, choices, seen, ask.logprobs, tell, step)]),
        )


def _config(writer: Writer, spec: GenerationSpec, pad_id: int) -> GenerationConfig:
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=spec.max_new_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=list(writer.end_ids) or None,
        pad_token_id=pad_id,
    )


class Seen(LogitsProcessor):
    """Keeps the model's own log-probabilities of the next token, before anything shapes them."""

    def __init__(self) -> None:
        self.logprobs_BV = torch.empty(0, 0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.logprobs_BV = scores.log_softmax(dim=-1)
        return scores


class WrittenPenalty(LogitsProcessor):
    """Lowers the score of a token by how often, and by whether, it was written before; the prompt does not count.

    Source: the API reference of OpenAI, `frequency_penalty` and `presence_penalty`.
    """

    def __init__(self, frequency: float, presence: float, prompt_width: int) -> None:
        self.frequency, self.presence, self.prompt_width = frequency, presence, prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        written_BT = input_ids[:, self.prompt_width :]
        counts_BV = torch.zeros_like(scores).scatter_add_(
            1, written_BT, torch.ones_like(written_BT, dtype=scores.dtype)
        )
        return scores - self.frequency * counts_BV - self.presence * (counts_BV > 0)


class Telling(StoppingCriteria):
    """Tells each choice's new token as soon as it is there, and ends those that are over."""

    def __init__(
        self,
        writer: Writer,
        choices: Sequence[Choice],
        seen: Seen,
        logprobs: int | None,
        tell: Tell,
        step: Callable[[], None],
    ) -> None:
        self.writer, self.choices, self.seen = writer, choices, seen
        self.logprobs, self.tell, self.step = logprobs, tell, step

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        for row, (choice, token) in enumerate(zip(self.choices, input_ids[:, -1].tolist(), strict=True)):
            if choice.reason is None:
                for line in choice.take(token, token in self.writer.end_ids, self._told(row, token)):
                    self.tell(line)
        self.step()
        return torch.tensor([choice.reason is not None for choice in self.choices], device=input_ids.device)

    def _told(self, row: int, token: int) -> tuple[Token, ...]:
        if self.logprobs is None:
            return ()
        return (token_of(self.writer, token, self.seen.logprobs_BV[row], self.logprobs),)
