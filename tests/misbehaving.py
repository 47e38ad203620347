"""A chat server that really listens and misbehaves on command: what it does at each call is a list of faults.

It is a fault injector, no teacher: texts that are learned come from real models elsewhere.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What one call meets instead of an answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    hang_seconds: float = 0.0
    is_reset: bool = False
    is_cut: bool = False


def refusing(status: int, message: str = "no", **headers: str) -> Fault:
    body = json.dumps({"error": {"message": message}}).encode()
    return Fault(status, body, tuple((name.replace("_", "-"), value) for name, value in headers.items()))


def saying(body: Any) -> Fault:
    return Fault(body=json.dumps(body).encode())


RESET, CUT, GARBAGE = Fault(is_reset=True), Fault(is_cut=True), Fault(body=b"<html>oops</html>")
Decide = Callable[[int, dict[str, Any]], Fault | None]


def completion(text: str, finish_reason: str = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    """A chat completion as OpenAI's protocol writes it."""
    told = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12} if usage is None else usage
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": told}


@dataclass
class Misbehaving:
    """What it was asked, and how many calls it was busy with at once."""

    url: str
    decide: Decide
    calls: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, body: dict[str, Any], headers: dict[str, str]) -> int:
        """Note a call; return its number."""
        with self.lock:
            self.calls.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            return len(self.calls)

    def let_go(self) -> None:
        with self.lock:
            self.busy -= 1

    @property
    def prompts(self) -> list[str]:
        """The last message of each call, the first question left out."""
        asked = [call["messages"][-1]["content"] if "messages" in call else call["prompt"] for call in self.calls]
        return [text for text in asked if text != "Say: ready."]


class Talk(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: "Quiet"

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"object": "list", "data": [{"id": "m"}, {"id": "larger"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = self.server.made.meet(body, dict(self.headers))
        try:
            self._misbehave(self.server.made.decide(number, body), body)
        finally:
            self.server.made.let_go()

    def _misbehave(self, fault: Fault | None, body: dict[str, Any]) -> None:
        if fault is None:
            asked = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
            return self._answer(200, json.dumps(completion(f"echo: {asked}")).encode())
        if fault.hang_seconds:
            self.server.ended.wait(fault.hang_seconds)
        if fault.is_reset:
            # Lingering for no time at all makes the kernel say RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            return self.connection.close()
        if fault.is_cut:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
            return None
        return self._answer(fault.status, fault.body, fault.headers)

    def _answer(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        try:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client did not wait for it
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()


class Quiet(ThreadingHTTPServer):
    """Says nothing about clients that leave."""

    daemon_threads = True
    request_queue_size = 128
    made: Misbehaving
    ended: threading.Event

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def misbehaving(decide: Decide = lambda number, body: None) -> Iterator[Misbehaving]:
    """Yield a server that answers `echo: <prompt>` wherever `decide` (call's number from 1, body) names no fault."""
    with Quiet(("127.0.0.1", 0), Talk) as server:
        server.ended = threading.Event()
        server.made = Misbehaving(f"http://127.0.0.1:{server.server_address[1]}/v1", decide)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.made
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
