"""The command line in this process, against the real service."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from distill_client.cli import app
from tests.distill_client.live import Live


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """stdout, read as one JSON value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def run(live: Live) -> Run:
    def run(*words: str, stdin: str | None = None, url: str = live.url) -> Ran:
        result = CliRunner().invoke(app, ["--url", url, *words], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run
