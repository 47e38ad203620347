"""Who writes texts: an interface, and a model in this process.

Shapes: B sequences, T positions.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteriaList

from core.methods import GenerationSpec
from worker.training.generation.engine import Engine, TransformersEngine
from worker.training.generation.prompts import PromptEncoder
from worker.training.generation.samples import Ask, Prompt, Sample
from worker.training.generation.sampling import processors, uniforms
from worker.training.generation.stopping import EachToken, StopTexts, cut_at
from worker.training.memory import is_out_of_memory


class Writer(Protocol):
    @property
    def is_batched(self) -> bool:
        """Whether texts are written together, `generation.batch_size` at a time, or each for itself."""

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return how long a prompt is; batches are made of prompts of similar length."""

    def write(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> list[Sample]:
        """Write one sample for each ask, in their order. `each_token` is called often and may raise to stop."""

    def pieces(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> Generator[Sequence[Sample], None, None]:
        """Yield the same samples in pieces, in any order: what was yielded is kept, whatever becomes of the rest."""


@dataclass(frozen=True)
class Completion:
    """What followed a prompt. `token_ids` includes the token that ended it."""

    token_ids: list[int]
    finished: bool
    text: str
    tokens: int
    """Without the token that ended it."""


class ModelWriter:
    """Writes with a model in this process.

    A sample is drawn from numbers that depend on the seed, its prompt's index and its own number alone. The logits come
    out of a batch, and rounding there may depend on the batch: the same batches give the same bytes. temperature 0
    chooses what `generate` chooses greedily. The model folder's own generation settings play no part.

    `engine` computes the logits; transformers does where none is given.
    """

    is_batched = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        spec: GenerationSpec,
        seed: int,
        engine: Engine | None = None,
    ) -> None:
        self.tokenizer, self.spec, self.seed = tokenizer, spec, seed
        self.engine = engine or TransformersEngine(model)
        self.encoder = PromptEncoder(tokenizer, spec.system_prompt, spec.chat)
        self.end_ids = end_ids(model, tokenizer)
        self.context = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def prompt_tokens(self, prompt: Prompt) -> int:
        return len(self.encoder.ids(prompt))

    def pieces(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> Generator[Sequence[Sample], None, None]:
        yield self.write(asks, each_token)

    def write(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> list[Sample]:
        prompts = [self.encoder.ids(ask.prompt) for ask in asks]
        fitting = [row for row, ids in enumerate(prompts) if self._fits(ids)]
        samples = [self.without_room(ask, ids) for ask, ids in zip(asks, prompts, strict=True)]
        keys = [asks[row].key for row in fitting]
        for row, written in zip(
            fitting, self.complete([prompts[row] for row in fitting], keys, each_token), strict=True
        ):
            samples[row] = self.sample_of(asks[row], prompts[row], written)
        return samples

    @staticmethod
    def without_room(ask: Ask, ids: list[int]) -> Sample:
        """Return what becomes of a prompt that leaves no room for a text."""
        return Sample(*ask.key, "", len(ids), 0, finished=False, fault="prompt_too_long")

    @staticmethod
    def sample_of(ask: Ask, ids: list[int], written: Completion) -> Sample:
        return Sample(*ask.key, written.text, len(ids), written.tokens, written.finished)

    def _fits(self, ids: list[int]) -> bool:
        return bool(ids) and (self.context is None or len(ids) + self.spec.max_new_tokens <= self.context)

    def complete(
        self, prompts: Sequence[list[int]], keys: Sequence[tuple[int, int]], each_token: Callable[[], None]
    ) -> list[Completion]:
        """Return what follows each prompt; where a batch does not fit into memory it is written in halves."""
        if not prompts:
            return []
        try:
            return self._batch(prompts, keys, each_token)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(prompts) == 1:
                raise
        half = len(prompts) // 2
        return [
            *self.complete(prompts[:half], keys[:half], each_token),
            *self.complete(prompts[half:], keys[half:], each_token),
        ]

    def _batch(
        self, prompts: Sequence[list[int]], keys: Sequence[tuple[int, int]], each_token: Callable[[], None]
    ) -> list[Completion]:
        ids_BT, mask_BT = left_padded(prompts, self._pad_id)
        width = ids_BT.shape[1]
        uniforms_BT = uniforms(self.seed, keys, self.spec.max_new_tokens) if self.spec.temperature > 0 else None
        stop = StopTexts(self.spec.stop, self.tokenizer, width, len(prompts)) if self.spec.stop else None
        whole_BT = self.engine.generate(
            ids_BT,
            mask_BT,
            self._config(),
            processors(self.spec, uniforms_BT, width - mask_BT.sum(dim=1), width),
            StoppingCriteriaList([EachToken(each_token), *([stop] if stop else [])]),
        )
        ended = stop.ended_at if stop else [None] * len(prompts)
        return [
            self.completion(head, tail, end)
            for head, tail, end in zip(prompts, whole_BT[:, width:].tolist(), ended, strict=True)
        ]

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else next(iter(self.end_ids), 0))

    def _config(self) -> GenerationConfig:
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=self.spec.max_new_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=list(self.end_ids) or None,
            pad_token_id=self._pad_id,
        )

    def completion(self, prompt: list[int], tail: list[int], ended_at: int | None) -> Completion:
        """Return what followed a prompt, of the tokens that followed it.

        Args:
            tail: padded behind the text's end.
            ended_at: how many tokens there were when a stop text stood there, if one does.
        """
        end = next((place for place, token in enumerate(tail) if token in self.end_ids), None)
        if end is not None and (ended_at is None or end < ended_at):
            return Completion(tail[: end + 1], True, self._text(prompt, tail[:end]), end)
        ids = tail if ended_at is None else tail[:ended_at]
        text = self._text(prompt, ids)
        before_stop = cut_at(text, self.spec.stop)
        return Completion(ids, before_stop is not None, text if before_stop is None else before_stop, len(ids))

    def _text(self, prompt: list[int], ids: list[int]) -> str:
        """Decode behind the prompt: alone, some tokenizers drop the space that a text begins with."""
        head, whole = self._decode(prompt), self._decode(prompt + ids)
        return whole[len(head) :] if whole.startswith(head) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return the ids [B, T] of prompts that all end at the last position, and where they are not padding, bool."""
    width = max(len(ids) for ids in prompts)
    ids_BT = torch.full((len(prompts), width), pad_id)
    for row, ids in enumerate(prompts):
        ids_BT[row, width - len(ids) :] = torch.tensor(ids)
    return ids_BT, torch.arange(width)[None, :] >= torch.tensor([width - len(ids) for ids in prompts])[:, None]


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens that end a text: those that the model names, and its tokenizer's."""
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = [] if named is None else [named] if isinstance(named, int) else list(named)
    own = tokenizer.eos_token_id
    return tuple(dict.fromkeys([*ids, *([own] if isinstance(own, int) else [])]))
