"""What is asked of a writer, and what it wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.likeliest import Place

Message = Mapping[str, str]
"""One turn of a conversation: `role` and `content`."""
Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Prompt:
    """What a text is asked for: a plain text, or a conversation that the writer is to go on with."""

    index: int
    """Its place in the data set: with the sample's number and the seed, all that its randomness depends on."""
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    answer: str | None = None
    """The right answer, for verifiers."""
    part: Part = "train"
    """What its texts are for: to be learned, or to measure with."""
    teacher: str | None = None
    """Who writes, where several do."""

    def __post_init__(self) -> None:
        assert (self.text is None) != (self.messages is None), "a prompt is a text or a conversation"


@dataclass(frozen=True)
class Ask:
    """One sample to be written. A prompt is asked for as many as `samples_per_prompt`."""

    prompt: Prompt
    sample: int

    @property
    def key(self) -> tuple[int, int]:
        return self.prompt.index, self.sample


@dataclass(frozen=True)
class Sample:
    """One text that was written, or the reason why there is none."""

    prompt: int
    sample: int
    text: str
    prompt_tokens: int
    completion_tokens: int
    """Without the token that ends a text."""
    finished: bool
    """True where it ended by itself or at a stop text, not by its number of tokens."""
    fault: str | None = None
    """Why nothing was written, such as `prompt_too_long`."""
    detail: str | None = None
    """What is known of the fault beyond its name, such as a server's own words."""
    places: Sequence[Place] = ()
    """The likeliest tokens at each place of the text, where its writer told them."""

    @property
    def key(self) -> tuple[int, int]:
        return self.prompt, self.sample

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "places" or value}
