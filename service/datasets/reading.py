"""Examples as a language model reads them: tokens, which of them are learned, and what is cut.

The rules are those of training: prompt and completion are tokenized apart, as they are when a model goes on from a
prompt; a completion ends with the end-of-text token, which is learned with it.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from core.spec import ColumnsSpec, Form
from service.models.tokenizers import Writer

PIECE_CHARACTERS = 100_000
"""More of one text than any preview shows."""


class ReadingOut(BaseModel):
    """One example, cut at max_length tokens; the lists are of equal length."""

    ids: list[int]
    texts: list[str] = Field(description="What each token stands for in the text.")
    learned: list[bool] = Field(description="Whether the token counts in the loss.")
    tokens: int = Field(description="How many there are before the cut.")
    is_cut: bool


def reading_of(
    example: Mapping[str, Any], form: Form, columns: ColumnsSpec, writer: Writer, max_length: int, *, on_prompt: bool
) -> ReadingOut:
    """Return how a language model reads an example; one without a completion has no token to learn."""
    prompt = "" if form == "text" else str(example.get(columns.prompt) or "")
    completion = str(example.get(columns.text if form == "text" else columns.completion) or "")
    read = [(token, False) for token in [*writer.opening, *writer.tokens(prompt[:PIECE_CHARACTERS])]]
    if completion.strip():
        read += [(token, True) for token in [*writer.tokens(completion[:PIECE_CHARACTERS]), *writer.ending]]
    kept = read[:max_length]
    return ReadingOut(
        ids=[token.id for token, _ in kept],
        texts=[token.text for token, _ in kept],
        # Nothing comes before the first token that it could be predicted from.
        learned=[place > 0 and (is_learned or on_prompt) for place, (_, is_learned) in enumerate(kept)],
        tokens=len(read),
        is_cut=len(read) > max_length,
    )
