"""The way to a teacher's server, as the training room sees it: a body goes out, a reply comes back. Who knows HTTP,
addresses and the secret stands outside this room."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Reply:
    """What a server answered, whatever it was."""

    status: int
    content: Any
    """The body's JSON; None where it is none."""
    text: str
    """The body's beginning, for people."""
    retry_after_seconds: float | None = None
    """How long the server asks to be left alone."""


class NoReply(Exception):
    """Nothing came back, or not all of it. `was_sent`: the server may have done the work, and charge for it."""

    def __init__(self, reason: str, *, was_sent: bool) -> None:
        super().__init__(reason)
        self.reason, self.was_sent = reason, was_sent


class Line(Protocol):
    name: str
    """The server's address, for people."""

    async def get(self, path: str) -> Reply:
        """Ask for something below the server's base URL. Raises NoReply."""

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Send JSON below the server's base URL, once. Raises NoReply, and EndpointNotAllowed."""

    async def close(self) -> None:
        """Let go of every connection."""
