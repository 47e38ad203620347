"""Server-sent events, read line by line, and picked up again where they were cut."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import get_args

import httpx

from distill_client.errors import ServerUnreachable
from distill_client.shapes import Event
from distill_client.transport import Transport, reason_of

SILENCE_SECONDS = 60.0
KNOWN_TYPES = frozenset(get_args(Event.model_fields["type"].annotation))


@dataclass
class Frame:
    """One event of the wire format, while its lines arrive (WHATWG HTML, 9.2)."""

    type: str = "message"
    data: list[str] = field(default_factory=list)
    id: str | None = None
    retry_seconds: float | None = None

    def take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self.data.append(value)
        elif name == "event":
            self.type = value
        elif name == "id":
            self.id = value
        elif name == "retry" and value.isdigit():
            self.retry_seconds = int(value) / 1000


def lines_of(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream. httpx would also cut where Unicode knows further ends of lines, inside a text."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode()


def frames(lines: Iterator[str]) -> Iterator[Frame]:
    """Yield each frame at the empty line that ends it; an unfinished one is dropped, as the standard says."""
    frame = Frame()
    for line in lines:
        if line:
            frame.take(line)
            continue
        yield frame
        frame = Frame()


class EventStream:
    """A job's events until it is finished, over as many connections as it takes."""

    def __init__(self, transport: Transport, path: str, last_id: str | None = None) -> None:
        self.transport, self.path, self.last_id = transport, path, last_id
        self.reconnect_seconds: float | None = None
        self.is_over = False

    def __iter__(self) -> Iterator[Event]:
        """Raises ApiError, and ServerUnreachable once reconnecting has failed for good."""
        failures, last_type = 0, ""
        while True:
            try:
                for event in self._connect():
                    failures, last_type = 0, event.type
                    yield event
                if self.is_over:
                    return
                reason = "the stream ended before the job did"
            except httpx.TransportError as error:
                reason = reason_of(error)
            failures += 1
            if last_type == "done" and failures == 1:
                # Most often the end; but a job that was retried goes on behind its first `done`.
                continue
            if failures >= self.transport.retries.attempts:
                raise ServerUnreachable(self.transport.url, reason)
            delay_seconds = self.reconnect_seconds or self.transport.retries.delay_seconds(failures)
            self.transport.sleep(delay_seconds)

    def _connect(self) -> Iterator[Event]:
        with self.transport.stream(self._request) as response:
            # 204: nothing follows what we have, and nothing will.
            self.is_over = response.status_code == httpx.codes.NO_CONTENT
            for frame in frames(lines_of(response.iter_bytes())):
                self.last_id = frame.id or self.last_id
                self.reconnect_seconds = frame.retry_seconds or self.reconnect_seconds
                event = _event(frame)
                if event is not None:
                    yield event

    def _request(self) -> httpx.Request:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        timeout = self.transport.patient(SILENCE_SECONDS)
        return self.transport.http.build_request("GET", self.path, headers=headers, timeout=timeout)


def _event(frame: Frame) -> Event | None:
    """None for a type that a later server may have added, and for a frame without data."""
    if frame.type not in KNOWN_TYPES or not frame.data:
        return None
    data = json.loads("\n".join(frame.data))
    return Event.model_validate({"type": frame.type, "id": frame.id, "data": data if isinstance(data, dict) else {}})
