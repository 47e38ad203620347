"""`/v1/chat/completions`: talk to a language model. OpenAI's own SDK does the same at `<url>/v1`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from distill_client.answers import ChatAnswer
from distill_client.errors import ApiError, ServerUnreachable
from distill_client.shapes import Json
from distill_client.stream import frames, lines_of
from distill_client.transport import Transport, json_of, reason_of

ANSWER_SECONDS = 600.0
"""A model may have to be loaded first, and a long text takes its time."""
DONE = "[DONE]"
Message = Mapping[str, str]


class Chat:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def complete(self, model: str, messages: Sequence[Message], **options: Any) -> ChatAnswer:
        """Return the whole answer. Raises ApiError.

        `options` are the API's: max_tokens, temperature, seed, n, stop and so on.
        """
        answer = self.transport.post(
            "/v1/chat/completions", _body(model, messages, options), read_seconds=ANSWER_SECONDS
        )
        return ChatAnswer.model_validate(json_of(answer))

    def stream(self, model: str, messages: Sequence[Message], **options: Any) -> Iterator[str]:
        """Yield the answer's text piece by piece, as it is written. Raises ApiError, ServerUnreachable."""
        body = {**_body(model, messages, options), "stream": True}
        with self.transport.stream(lambda: self._request(body)) as response:
            try:
                for frame in frames(lines_of(response.iter_bytes())):
                    data = "\n".join(frame.data)
                    if data == DONE:
                        return
                    if data:
                        yield from _pieces(json.loads(data))
            except httpx.TransportError as error:
                raise ServerUnreachable(self.transport.url, reason_of(error)) from error
        raise ServerUnreachable(self.transport.url, "the answer ended early")

    def _request(self, body: Json) -> httpx.Request:
        timeout = self.transport.patient(ANSWER_SECONDS)
        headers = {"Accept": "text/event-stream"}
        return self.transport.http.build_request(
            "POST", "/v1/chat/completions", json=body, headers=headers, timeout=timeout
        )


def _body(model: str, messages: Sequence[Message], options: Mapping[str, Any]) -> Json:
    given = {name: value for name, value in options.items() if value is not None}
    return {"model": model, "messages": [dict(message) for message in messages], **given}


def _pieces(chunk: Json) -> Iterator[str]:
    error = chunk.get("error")
    if error is not None:
        raise ApiError(503, str(error.get("code")), str(error.get("message")))
    for choice in chunk.get("choices", []):
        if choice["index"] == 0 and choice["delta"].get("content"):
            yield choice["delta"]["content"]
