"""Answers while they are written, as server-sent events of OpenAI's kind: chunks, then `[DONE]`."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

from core.errors import DistillError
from core.serving import Alive, End, Finished, Line, Piece, PromptLine
from service.events import event_of
from service.inference.answers import Heading, Written, shown_prompt
from service.inference.schemas import ChatRequest, CompletionRequest, Json
from service.inference.tokens import chat_logprobs, text_logprobs
from service.problems import openai_error


class Chunks(Protocol):
    whole: Written

    @property
    def tells_usage(self) -> bool: ...

    def of(self, line: Line) -> Iterator[Json]:
        """Yield what the client is sent for a line."""

    def chunk(self, choices: list[Json]) -> Json: ...


@dataclass
class ChatChunks:
    heading: Heading
    request: ChatRequest
    whole: Written = field(default_factory=Written)

    @property
    def tells_usage(self) -> bool:
        return self.request.tells_usage

    def of(self, line: Line) -> Iterator[Json]:
        if isinstance(line, PromptLine):
            for number in range(self.request.n or 1):
                yield self._chunk_of(number, {"role": "assistant", "content": "", "refusal": None})
        elif isinstance(line, Piece):
            told = None
            if self.request.logprobs:
                told = chat_logprobs(line.tokens, as_ids=bool(self.request.return_tokens_as_token_ids)).model_dump()
            yield self._chunk_of(line.choice, {"content": line.text}, told)
        elif isinstance(line, End):
            yield self._chunk_of(line.choice, {}, None, line.reason)

    def chunk(self, choices: list[Json]) -> Json:
        return _chunk(self.heading, "chat.completion.chunk", choices, is_last_told=self.tells_usage)

    def _chunk_of(self, number: int, delta: Json, logprobs: Any = None, reason: str | None = None) -> Json:
        return self.chunk([{"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}])


@dataclass
class TextChunks:
    heading: Heading
    request: CompletionRequest
    whole: Written = field(default_factory=Written)
    offsets: dict[int, int] = field(default_factory=dict)
    """Where the next token of each choice stands in its text."""

    @property
    def tells_usage(self) -> bool:
        return self.request.tells_usage

    def of(self, line: Line) -> Iterator[Json]:
        samples = self.request.n or 1
        if isinstance(line, PromptLine) and self.request.echo:
            for number in range(line.prompt * samples, (line.prompt + 1) * samples):
                ends = "length" if self.request.max_tokens == 0 else None
                yield self._chunk_of(number, shown_prompt(self.request, line), line.tokens, ends)
        elif isinstance(line, Piece):
            yield self._chunk_of(line.choice, line.text, line.tokens)
        elif isinstance(line, End):
            yield self._chunk_of(line.choice, "", (), line.reason)

    def chunk(self, choices: list[Json]) -> Json:
        return _chunk(self.heading, "text_completion", choices, is_last_told=self.tells_usage)

    def _chunk_of(self, number: int, text: str, tokens: Any, reason: str | None = None) -> Json:
        told = None
        if self.request.logprobs is not None and tokens:
            as_ids, has_top = bool(self.request.return_tokens_as_token_ids), self.request.logprobs > 0
            told = text_logprobs(tokens, self.offsets.get(number, 0), as_ids=as_ids, has_top=has_top).model_dump()
            self.offsets[number] = told["text_offset"][-1] + len(tokens[-1].text)
        return self.chunk([{"index": number, "text": text, "logprobs": told, "finish_reason": reason}])


def _chunk(heading: Heading, kind: str, choices: list[Json], *, is_last_told: bool) -> Json:
    # Where usage is asked for, every chunk has the field, and only the last one a value.
    usage = {"usage": None} if is_last_told else {}
    return {**vars(heading), "object": kind, "choices": choices, **usage}


async def stream_of(lines: AsyncGenerator[Line], chunks: Chunks) -> StreamingResponse:
    """Return the answer as a stream, once it has begun. Raises DistillError where it does not."""
    first = await anext(lines)
    while isinstance(first, Alive):
        first = await anext(lines)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(first, lines, chunks), 200, headers, "text/event-stream")


async def _events(first: Line, lines: AsyncGenerator[Line], chunks: Chunks) -> AsyncIterator[bytes]:
    async with aclosing(lines):
        for event in _told(first, chunks):
            yield event
        try:
            async for line in lines:
                for event in _told(line, chunks):
                    yield event
        except DistillError as error:
            # The status is sent already: the stream says so itself, and ends without [DONE].
            yield event_of({"error": openai_error(error).model_dump()})
            return
    yield format_sse_event(data_str="[DONE]")


def _told(line: Line, chunks: Chunks) -> Iterator[bytes]:
    chunks.whole.take(line)
    if isinstance(line, Alive):
        yield format_sse_event(comment="still at work")
    for chunk in chunks.of(line):
        yield event_of(chunk)
    if isinstance(line, Finished) and chunks.tells_usage:
        yield event_of({**chunks.chunk([]), "usage": chunks.whole.usage.model_dump()})
