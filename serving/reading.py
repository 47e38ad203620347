"""A prompt as the model reads it, and what it thinks of each of its tokens.

Legend: T positions, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from core.serving import ContextExceeded, Likely, PromptAsk, PromptEmpty, PromptLine, Token, TokenUnknown, WriteAsk
from serving.loading import Writer
from worker.training.generation.prompts import PromptEncoder
from worker.training.generation.samples import Prompt
from worker.training.language.chats import chat_prompt

IMPOSSIBLE = -9999.0
"""JSON has no minus infinity."""
READ_AT_ONCE = 256
"""Positions of a prompt whose logits are in memory at the same time."""


def encoded(writer: Writer, name: str, ask: PromptAsk) -> list[int]:
    """Return a prompt's token ids.

    Raises:
        ChatTemplateUnusable: a conversation, and the model has no chat template or it refuses the turns.
        TokenUnknown: an id beyond the vocabulary.
        PromptEmpty: there is nothing to read, not even a token that begins a text.
    """
    if ask.ids is not None:
        ids = list(ask.ids)
        embeddings: Any = writer.model.get_input_embeddings()
        size: int = embeddings.num_embeddings
        unknown = next((token for token in ids if not 0 <= token < size), None)
        if unknown is not None:
            raise TokenUnknown(size - 1, unknown)
    elif ask.turns is not None:
        turns = [{"role": turn.role, "content": turn.content} for turn in ask.turns]
        text = chat_prompt(turns, writer.tokenizer, f"model '{name}'")
        ids = list(writer.tokenizer(text, add_special_tokens=False)["input_ids"])
    else:
        ids = PromptEncoder(writer.tokenizer, None, chat=False).ids(Prompt(0, ask.text))
    if not ids and writer.tokenizer.bos_token_id is not None:
        ids = [writer.tokenizer.bos_token_id]
    if not ids:
        raise PromptEmpty()
    return ids


def room_for(writer: Writer, prompts: Sequence[Sequence[int]], ask: WriteAsk) -> int:
    """Return how many tokens may be written after each of the prompts. Raises ContextExceeded."""
    wanted = ask.generation.max_new_tokens if ask.generation is not None else 0
    longest = max(len(ids) for ids in prompts)
    if writer.context is None or longest + wanted <= writer.context:
        return wanted
    left = writer.context - longest
    if not ask.shorten or left < min(1, wanted):
        raise ContextExceeded(longest, wanted, writer.context)
    return left


def prompt_line(writer: Writer, number: int, ids: Sequence[int], ask: WriteAsk) -> PromptLine:
    """Return what an answer tells of a prompt; with `echo` its text and tokens too."""
    if not ask.echo:
        return PromptLine(prompt=number, ids=tuple(ids))
    tokens = tuple(_tokens(writer, ids, ask.logprobs))
    return PromptLine(prompt=number, ids=tuple(ids), text=writer.decode(ids), tokens=tokens)


def _tokens(writer: Writer, ids: Sequence[int], top: int | None) -> Iterator[Token]:
    if top is None:
        return
    yield Token(id=ids[0], bytes=writer.vocabulary.bytes_of(ids[0]), logprob=None)
    following = iter(ids[1:])
    for logprobs_TV in _logprobs(writer, ids):
        for logprobs_V, token in zip(logprobs_TV, following, strict=False):
            yield token_of(writer, token, logprobs_V, top)


@torch.inference_mode()
def _logprobs(writer: Writer, ids: Sequence[int]) -> Iterator[Tensor]:
    """Yield float32 [T, V], some positions at a time: what the model expects after each token."""
    model: Any = writer.model
    ids_1T = torch.tensor([list(ids)], device=writer.model.device)
    past: Any = None
    for start in range(0, len(ids), READ_AT_ONCE):
        read = model(input_ids=ids_1T[:, start : start + READ_AT_ONCE], past_key_values=past, use_cache=True)
        past = read.past_key_values
        yield read.logits[0].float().log_softmax(dim=-1).cpu()


def token_of(writer: Writer, token: int, logprobs_V: Tensor, top: int) -> Token:
    """Return a token with its log-probability and the `top` likeliest in its place."""
    logprobs_V = logprobs_V.clamp(min=IMPOSSIBLE)
    likely = logprobs_V.topk(min(top, len(logprobs_V)))
    places = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    bytes_of = writer.vocabulary.bytes_of
    others = tuple(Likely(id=other, bytes=bytes_of(other), logprob=value) for other, value in places)
    return Token(id=token, bytes=bytes_of(token), logprob=float(logprobs_V[token]), top=others)
