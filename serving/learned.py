"""Conversations as a model would read them to learn from: the same pieces, tokens and mask as in training."""

import time
from collections.abc import Callable, Iterator

from core.errors import ChatTemplateUnusable
from core.serving import Reading, ReadingAsk, Turn
from serving.loading import Reader
from serving.writing import Tell
from worker.training.language.chats import Piece, asked_pieces
from worker.training.language.data import Writing
from worker.training.language.scripts import Stretch, mask_of, pieces_of, stretches


def read_chats(reader: Reader, ask: ReadingAsk, tell: Tell, step: Callable[[], None]) -> float:
    """Answer in one line a conversation; return the seconds that it took.

    Raises:
        ChatTemplateUnusable: the template refuses a conversation, which is named by its number.
    """
    began = time.perf_counter()
    for number, turns in enumerate(ask.chats, start=ask.first):
        try:
            tell(reading_of(reader, turns, ask))
        except ChatTemplateUnusable as error:
            model, why = error.args
            raise ChatTemplateUnusable(model, f"example {number}: {why}") from error
        step()
    return time.perf_counter() - began


def reading_of(reader: Reader, turns: tuple[Turn, ...], ask: ReadingAsk) -> Reading:
    """Return a conversation in tokens; one in which the assistant says nothing ends where it would, and has none to
    learn."""
    messages = tuple({"role": str(turn.role), "content": turn.content} for turn in turns)
    writing, name = Writing(messages=messages), f"model '{ask.model.name}'"
    tokenizer, cut = reader.tokenizer, pieces_of if writing.has_completion() else _asked
    ((opening, made),) = stretches([writing], tokenizer, name, cut, with_spans=tokenizer.is_fast)
    ids, is_target = list(opening), [False] * len(opening)
    texts = [str(tokenizer.decode([token])) for token in opening]
    for stretch in made:
        ids += stretch.ids
        is_target += [stretch.piece.is_learned] * len(stretch.ids)
        texts += _texts(reader, stretch)
    return Reading(
        ids=tuple(ids[: ask.max_length]),
        texts=tuple(texts[: ask.max_length]),
        learned=tuple(mask_of(is_target, ask.max_length, ask.on_prompt).tolist()),
        tokens=len(ids),
        is_cut=len(ids) > ask.max_length,
    )


def _asked(writing: Writing, tokenizer: object, name: str) -> list[Piece]:
    return asked_pieces(writing.messages or (), tokenizer, name) if writing.messages else []  # type: ignore[arg-type]


def _texts(reader: Reader, stretch: Stretch) -> Iterator[str]:
    """Yield what each token stands for: its part of the text, or where that is not known its own name."""
    text = stretch.piece.text
    yield from (text[start:end] for start, end in stretch.spans)
    yield from (str(reader.tokenizer.decode([token])) for token in stretch.ids[len(stretch.spans) :])
