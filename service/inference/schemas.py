"""The requests and answers of OpenAI's API for texts, as far as they are supported; an unknown field is refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from core.methods import GenerationSpec
from core.serving import PromptAsk, Turn

MOST_CHOICES, MOST_PROMPTS, MOST_LOGPROBS = 16, 32, 100
MOST_TEXTS_AT_ONCE = 64

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
TokenId = Annotated[int, Field(strict=True, ge=0, lt=1 << 31)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
TopLogprobs = Annotated[int, Field(strict=True, ge=0, le=MOST_LOGPROBS)]
Text = str


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class StreamOptions(Asked):
    include_usage: bool = False


class Sampling(Asked):
    """What both kinds of request may say about how to write. null is the same as absent."""

    model: ModelName = Field(description="A name or id of GET /v1/models, or the id of the job that made it.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(None, description="0 always takes the likeliest.")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=MOST_CHOICES)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(strict=True, ge=-(1 << 63), lt=1 << 63)] | None = Field(
        None, description="The same seed, request and machine give the same text."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_tokens_as_token_ids: bool | None = Field(
        None, description="Write tokens in logprobs as `token_id:N`: their place in the model's vocabulary."
    )
    user: Annotated[str, StringConstraints(max_length=1000)] | None = Field(None, description="Taken, and not used.")

    def generation(self, max_tokens: int, seed: int) -> GenerationSpec:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return GenerationSpec(
            temperature=1.0 if self.temperature is None else float(self.temperature),
            top_p=1.0 if self.top_p is None else float(self.top_p),
            top_k=self.top_k,
            min_p=float(self.min_p) if self.min_p else None,
            max_new_tokens=max_tokens,
            samples_per_prompt=self.n or 1,
            repetition_penalty=float(self.repetition_penalty or 1.0),
            stop=tuple(stops),
            seed=(self.seed if self.seed is not None else seed) % (1 << 32),
        )

    @property
    def tells_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class TextPart(Asked):
    type: Literal["text"]
    text: Text


class Message(Asked):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart], Field(min_length=1)]
    refusal: None = Field(None, description="Stands in answers that are sent back as history.")

    def turn(self) -> Turn:
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        # What newer clients call the developer's is what templates know as the system's.
        return Turn(role="system" if self.role == "developer" else self.role, content=content)


class ChatRequest(Sampling):
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        None, description="The newer name of max_tokens; absent: as many as fit."
    )
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = Field(
        None, description="With logprobs; in nats, of the model's own distribution."
    )

    @model_validator(mode="after")
    def _logprobs_to_be_the_top_of(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("logprobs_missing", "top_logprobs needs logprobs: true")
        return self

    def prompts(self) -> tuple[PromptAsk, ...]:
        return (PromptAsk(turns=tuple(message.turn() for message in self.messages)),)


class CompletionRequest(Sampling):
    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=MOST_PROMPTS)]
    ) = Field(description="Texts as they are, without any template, or token ids.")
    max_tokens: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        None, description="16 when absent; 0 with echo: only look at the prompt."
    )
    logprobs: TopLogprobs | None = Field(None, description="In nats, of the model's own distribution.")
    echo: bool | None = None

    @model_validator(mode="after")
    def _something_to_answer(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise PydanticCustomError("nothing_asked", "max_tokens 0 without echo asks for nothing")
        return self

    def prompts(self) -> tuple[PromptAsk, ...]:
        if isinstance(self.prompt, str):
            return (PromptAsk(text=self.prompt),)
        if isinstance(self.prompt[0], int):
            return (PromptAsk(ids=tuple(self.prompt)),)
        return tuple(PromptAsk(text=one) if isinstance(one, str) else PromptAsk(ids=tuple(one)) for one in self.prompt)


class Answered(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class Usage(Answered):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


FinishReason = Literal["stop", "length"]


class TopLogprob(Answered):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Answered):
    content: list[TokenLogprob]
    refusal: None = None


class ChatMessage(Answered):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Answered):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Answered):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str = Field(description="Of the model's files: the same weights, the same fingerprint.")


class TextLogprobs(Answered):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(Answered):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class Completion(Answered):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    system_fingerprint: str


Json = dict[str, Any]
