"""A comparison as the contract shows it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.serving import PromptAsk
from service.inference.answers import Written
from service.inference.classifying import ClassifiedText
from service.inference.schemas import FinishReason, Message
from service.jobs.sides import Role

MOST_PROMPTS = 16
Prompt = str | Annotated[list[Message], Field(min_length=1, max_length=1000)]


class CompareRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=MOST_PROMPTS)] = Field(
        description="Texts as they are, or conversations, which go through each model's chat template."
    )
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=32_768)] = 64
    temperature: Annotated[float, Field(ge=0, le=2)] = Field(0.0, description="0 always takes the likeliest token.")
    seed: Annotated[int, Field(strict=True, ge=0, lt=1 << 32)] = 0


def prompt_ask(prompt: Prompt) -> PromptAsk:
    if isinstance(prompt, str):
        return PromptAsk(text=prompt)
    return PromptAsk(turns=tuple(message.turn() for message in prompt))


class Out(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class WrittenAnswer(Out):
    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason

    @classmethod
    def of(cls, whole: Written) -> "WrittenAnswer":
        usage, text = whole.usage, whole.texts[0]
        assert text.reason is not None, "an answer that is whole has ended"
        return cls(
            text=text.text,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            finish_reason=text.reason,
        )


class ComparedSide(Out):
    role: Role
    model: str | None
    omitted: str | None = Field(None, description="Why this side has no answers.")
    tokens_per_second: float | None = Field(None, description="Language models: one prompt after the other.")
    examples_per_second: float | None = Field(None, description="Classifiers: all texts together.")
    agreement: float | None = Field(
        None,
        description="Language models: the share of the teacher's tokens that this model would have chosen in their "
        "place. Classifiers: the share of the texts that it calls what the teacher calls them. null for the teacher, "
        "and where the two read the prompts as other tokens.",
    )
    answers: list[WrittenAnswer] | list[ClassifiedText] = Field(
        default_factory=list, description="One for each prompt, in their order."
    )


class Comparison(Out):
    object: Literal["distillation.comparison"] = "distillation.comparison"
    job_id: str
    task: str
    prompts: list[Prompt]
    sides: list[ComparedSide]
