"""What models answer when they are asked, typed."""

from typing import Any

from pydantic import Field

from distill_client.shapes import Json, Shape


class ChatMessage(Shape):
    role: str
    content: str


class ChatChoice(Shape):
    index: int
    message: ChatMessage
    finish_reason: str


class ChatAnswer(Shape):
    """OpenAI's chat completion."""

    id: str
    model: str
    choices: list[ChatChoice]
    usage: dict[str, int] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """The first choice's."""
        return self.choices[0].message.content


class Classification(Shape):
    index: int
    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool = False


class ComparedSide(Shape):
    """One model of a comparison; `omitted` says why it has no answers."""

    role: str
    model: str | None = None
    omitted: str | None = None
    tokens_per_second: float | None = None
    examples_per_second: float | None = None
    agreement: float | None = None
    answers: list[Json] = Field(default_factory=list)


class Comparison(Shape):
    job_id: str
    task: str
    prompts: list[Any]
    sides: list[ComparedSide]
