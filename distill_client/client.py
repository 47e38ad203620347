"""The door to a distillation service from Python."""

import os
from types import TracebackType
from typing import Any, Self

from distill_client.chat import Chat
from distill_client.datasets import Datasets
from distill_client.errors import UnusableKey
from distill_client.jobs import Jobs
from distill_client.keys import Keys
from distill_client.models import Models
from distill_client.retrying import Retries
from distill_client.secrets import Secrets
from distill_client.shapes import Json
from distill_client.sweeps import Sweeps
from distill_client.transport import Transport, json_of

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 30.0


class Client:
    """Speaks to one service. Synchronous; use it as a context manager, or close it.

    Args:
        url: of the service; without it DISTILL_URL, then this machine's port 8000.
        api_key: `dk_…`; without it DISTILL_API_KEY, then none. White space around it does not count.
        timeout_seconds: for an answer to begin; uploads and event streams have longer ones of their own.
        retries: how often, and how patiently, a request is repeated.

    Raises UnusableUrl, UnusableKey.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
    ) -> None:
        url = url or os.environ.get("DISTILL_URL") or DEFAULT_URL
        key = _usable(api_key or os.environ.get("DISTILL_API_KEY") or "")
        self.transport = Transport(url, key, timeout_seconds, retries or Retries())
        self.jobs = Jobs(self.transport)
        self.sweeps = Sweeps(self.transport)
        self.datasets = Datasets(self.transport)
        self.models = Models(self.transport)
        self.chat = Chat(self.transport)
        self.keys = Keys(self.transport)
        self.secrets = Secrets(self.transport)

    @property
    def url(self) -> str:
        return self.transport.url

    def system(self) -> Json:
        """Versions, workers with heartbeat and devices, queue lengths."""
        return dict(json_of(self.transport.get("/v1/system")))

    def readiness(self) -> Json:
        """`/readyz` in one attempt, well or not: each part by name. Raises ServerUnreachable."""
        answer: Any = json_of(self.transport.once("/readyz"))
        return dict(answer) if isinstance(answer, dict) else {}

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _usable(api_key: str) -> str | None:
    """The key as a header carries it, or None without one. Raises UnusableKey."""
    key = api_key.strip()
    if not (key.isascii() and key.isprintable()):
        raise UnusableKey
    return key or None
