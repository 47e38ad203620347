"""What the service asks of the serving process, and what that answers: one JSON object a line."""

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from core.errors import DistillError, every_error
from core.methods import GenerationSpec
from core.wire import Wire

ALIVE_SECONDS = 5.0
"""A serving process says at least every so often that it is still there."""
SILENCE_SECONDS = 30.0
"""One that says nothing for so long is given up."""

Role = Literal["system", "user", "assistant", "tool"]


class ContextExceeded(DistillError):
    code, title, status = "context_length_exceeded", "Longer than the model's context", 422
    hint = "Shorten the prompt, or lower max_tokens."

    def __str__(self) -> str:
        prompt, wanted, context = self.args
        return f"{prompt} tokens of prompt and {wanted} to write are more than the model's {context}"


class TokenUnknown(DistillError):
    code, title, status = "token_unknown", "No such token", 422
    hint = "Send the prompt as text, or ids of this model's own vocabulary."

    def __str__(self) -> str:
        return f"the model has tokens 0 to {self.args[0]}, not {self.args[1]}"


class PromptEmpty(DistillError):
    code, title, status = "prompt_empty", "Nothing to go on from", 422
    hint = "Write at least one token: this model has none that begins a text."

    def __str__(self) -> str:
        return "the prompt is empty"


class ServingBusy(DistillError):
    code, title, status = "serving_busy", "Too many requests for models", 429
    hint = (
        "Ask again after Retry-After seconds; the operator sets DISTILL_SERVING_CONCURRENCY and DISTILL_SERVING_QUEUE."
    )

    def __str__(self) -> str:
        return f"{self.args[0]} requests are being answered or wait already"


class ServingUnavailable(DistillError):
    code, title, status = "serving_unavailable", "Serving process not reached", 503
    hint = "Ask again after Retry-After seconds; the operator looks into the service's log, or at DISTILL_SERVING_URL."

    def __str__(self) -> str:
        return f"the process that runs models cannot answer: {self.args[0]}"


class ServingOutOfMemory(DistillError):
    code, title, status = "serving_out_of_memory", "No memory for this model or request", 503
    hint = "Ask for fewer or shorter texts at once (n, max_tokens), or for a smaller model."

    def __str__(self) -> str:
        return f"memory does not suffice: {self.args[0]}"


class ServedFile(Wire):
    path: str
    bytes: int
    sha256: str
    blob_key: str


class ServedModel(Wire):
    """A model by its blobs: whose it is, and under which name, is the service's affair."""

    key: str
    """The same key, the same weights: what is in memory already is not loaded again."""
    name: str
    files: tuple[ServedFile, ...]
    layers: tuple[int, ...] | None = None
    """Copies of these layers alone: how a student that was made of its teacher's layers began."""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Of the files: the same weights, the same fingerprint."""
        digests = sorted(f"{file.path} {file.sha256}" for file in self.files)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


class Turn(Wire):
    role: Role
    content: str


class PromptAsk(Wire):
    """What to go on from: a text as it is, token ids, or a conversation through the model's chat template."""

    text: str | None = None
    ids: tuple[int, ...] | None = None
    turns: tuple[Turn, ...] | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if sum(part is not None for part in (self.text, self.ids, self.turns)) != 1:
            raise ValueError("a prompt is a text, token ids, or a conversation")
        return self


class WriteAsk(Wire):
    """Go on from each prompt, `generation.samples_per_prompt` times. The k-th of prompt p is choice p * samples + k."""

    model: ServedModel
    prompts: tuple[PromptAsk, ...]
    generation: GenerationSpec | None
    """None: write nothing; the prompts' own tokens are what is asked about."""
    shorten: bool = False
    """Where prompt and max_new_tokens together exceed the model's context: write less, instead of refusing."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int | None = None
    """How many of the likeliest tokens to tell at each position; 0 tells the chosen one's log-probability alone."""
    echo: bool = False
    """Tell the prompts' tokens too, with log-probabilities where `logprobs` asks for them."""


class ClassifyAsk(Wire):
    model: ServedModel
    texts: tuple[tuple[str, str | None], ...]
    """Each a text, and the second one of a pair."""


class ReadingAsk(Wire):
    """How would the model read these conversations, to learn from them? Of its files the tokenizer's suffice."""

    model: ServedModel
    chats: tuple[tuple[Turn, ...], ...]
    first: int
    """The number of the first one, for errors."""
    max_length: int
    on_prompt: bool


class Likely(Wire):
    """A token that could stand somewhere. Its text may be a part of a character: `bytes` are what it is."""

    id: int
    bytes: tuple[int, ...]
    logprob: float | None
    """In nats, of the model's own distribution: temperature, penalties and truncation play no part. None where nothing
    comes before, and where it was not asked for."""

    @property
    def text(self) -> str:
        return bytes(self.bytes).decode("utf-8", "replace")


class Token(Likely):
    top: tuple[Likely, ...] = ()
    """The likeliest tokens at this place, the likeliest first."""


class Alive(Wire):
    type: Literal["alive"] = "alive"


class PromptLine(Wire):
    """A prompt as the model reads it."""

    type: Literal["prompt"] = "prompt"
    prompt: int
    ids: tuple[int, ...]
    text: str | None = None
    tokens: tuple[Token, ...] = ()
    """With `echo` alone."""


class Piece(Wire):
    """What comes next in one choice. Text may lag behind its tokens: half a character, or what may become a stop."""

    type: Literal["piece"] = "piece"
    choice: int
    text: str
    tokens: tuple[Token, ...] = ()
    """With `logprobs` alone."""


class End(Wire):
    type: Literal["end"] = "end"
    choice: int
    reason: Literal["stop", "length"]
    ids: tuple[int, ...]
    """The tokens that were written, without the one that ends a text."""


class Classified(Wire):
    """The probabilities of each text's classes, in the order of the head."""

    type: Literal["classified"] = "classified"
    probabilities: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]
    is_cut: tuple[bool, ...]
    """Whether a text was longer than the model reads."""


class Reading(Wire):
    """One conversation in tokens, cut at max_length; the lists are of equal length."""

    type: Literal["reading"] = "reading"
    ids: tuple[int, ...]
    texts: tuple[str, ...]
    learned: tuple[bool, ...]
    tokens: int
    """How many there are before the cut."""
    is_cut: bool


class Finished(Wire):
    """The last line of every answer that is whole."""

    type: Literal["finished"] = "finished"
    seconds: float
    """What the model's own work took, without loading and waiting."""


class Failed(Wire):
    """The last line of an answer that ends early: an error of ours, by its code and raw arguments."""

    type: Literal["failed"] = "failed"
    code: str
    arguments: tuple[Any, ...]

    @classmethod
    def of(cls, error: DistillError) -> "Failed":
        plain = (argument if isinstance(argument, int | float) else str(argument) for argument in error.args)
        return cls(code=error.code, arguments=tuple(plain))

    def error(self) -> DistillError:
        """Return the error that this was made of."""
        kinds = {kind.code: kind for kind in every_error()}
        return kinds.get(self.code, DistillError)(*self.arguments)


Line = Annotated[
    Alive | PromptLine | Piece | End | Classified | Reading | Finished | Failed, Field(discriminator="type")
]
LINE: TypeAdapter[Line] = TypeAdapter(Line)


def line_of(line: Line) -> bytes:
    return line.model_dump_json().encode() + b"\n"
