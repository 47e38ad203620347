"""From the serving process's lines to whole answers."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from core.serving import End, Finished, Line, Piece, PromptLine, ServedModel, Token
from service.inference.schemas import (
    ChatChoice,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Completion,
    CompletionRequest,
    FinishReason,
    TextChoice,
    Usage,
)
from service.inference.tokens import chat_logprobs, text_logprobs


@dataclass(frozen=True)
class Heading:
    """What stands at the top of every part of one answer."""

    id: str
    created: int
    model: str
    system_fingerprint: str

    @classmethod
    def of(cls, prefix: str, model: ServedModel) -> "Heading":
        return cls(f"{prefix}-{uuid4().hex}", int(time.time()), model.name, f"fp_{model.fingerprint}")


@dataclass
class Text:
    """One choice."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    ids: Sequence[int] = ()
    reason: FinishReason | None = None


@dataclass
class Written:
    """All that was said."""

    prompts: list[PromptLine] = field(default_factory=list)
    texts: dict[int, Text] = field(default_factory=dict)
    seconds: float = 0.0

    def take(self, line: Line) -> None:
        if isinstance(line, PromptLine):
            self.prompts.append(line)
        elif isinstance(line, Piece):
            text = self.texts.setdefault(line.choice, Text())
            text.text += line.text
            text.tokens += line.tokens
        elif isinstance(line, End):
            text = self.texts.setdefault(line.choice, Text())
            text.ids, text.reason = line.ids, line.reason
        elif isinstance(line, Finished):
            self.seconds = line.seconds

    @property
    def usage(self) -> Usage:
        read = sum(len(prompt.ids) for prompt in self.prompts)
        written = sum(len(text.ids) for text in self.texts.values())
        return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


async def written(lines: AsyncIterator[Line]) -> Written:
    """Return the whole answer. Raises DistillError."""
    whole = Written()
    async for line in lines:
        whole.take(line)
    return whole


def chat_completion(heading: Heading, request: ChatRequest, whole: Written) -> ChatCompletion:
    as_ids = bool(request.return_tokens_as_token_ids)
    choices = [
        ChatChoice(
            index=number,
            message=ChatMessage(content=text.text),
            logprobs=chat_logprobs(text.tokens, as_ids=as_ids) if request.logprobs else None,
            finish_reason=_reason(text),
        )
        for number, text in sorted(whole.texts.items())
    ]
    return ChatCompletion(**vars(heading), choices=choices, usage=whole.usage)


def completion(heading: Heading, request: CompletionRequest, whole: Written) -> Completion:
    samples = request.n or 1
    choices = []
    for number in range(len(whole.prompts) * samples):
        prompt = whole.prompts[number // samples]
        text = whole.texts.get(number, Text())
        before = shown_prompt(request, prompt) if request.echo else ""
        told = [*prompt.tokens, *text.tokens] if request.echo else text.tokens
        logprobs = None
        if request.logprobs is not None:
            as_ids, has_top = bool(request.return_tokens_as_token_ids), request.logprobs > 0
            logprobs = text_logprobs(told, 0, as_ids=as_ids, has_top=has_top)
        reason: FinishReason | None = text.reason or "length"
        choices.append(TextChoice(index=number, text=before + text.text, logprobs=logprobs, finish_reason=reason))
    return Completion(**vars(heading), choices=choices, usage=whole.usage)


def shown_prompt(request: CompletionRequest, prompt: PromptLine) -> str:
    """Return a prompt as `echo` shows it: as it was sent, or what its ids say."""
    asked = request.prompts()[prompt.prompt]
    return asked.text if asked.text is not None else prompt.text or ""


def _reason(text: Text) -> FinishReason:
    assert text.reason is not None, "an answer that is whole has ended"
    return text.reason
