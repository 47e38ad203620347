"""A writer on a real line, quick to try again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.addresses import Reach
from core.endpoints import EndpointSpec
from core.methods import GenerationSpec
from core.wire import Level
from tests.misbehaving import Misbehaving
from worker.endpoints import HttpLine
from worker.training.endpoint import pauses
from worker.training.endpoint.writer import EndpointWriter
from worker.training.generation.samples import Ask, Prompt, Sample

ANYWHERE = Reach("any")


@dataclass
class Ear:
    """What a writer tells of itself."""

    events: list[tuple[Level, str]] = field(default_factory=list)
    series: dict[str, float] = field(default_factory=dict)

    def event(self, message: str, level: Level = "info") -> None:
        self.events.append((level, message))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.series |= values


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "FIRST_SECONDS", 0.01)


def asks_of(count: int, samples: int = 1) -> list[Ask]:
    return [Ask(Prompt(index, f"question {index}"), sample) for index in range(count) for sample in range(samples)]


def writer_of(
    server: Misbehaving,
    folder: Path,
    *,
    texts: int = 40,
    secret: str | None = None,
    ear: Any = None,
    generation: Mapping[str, Any] | None = None,
    **endpoint: Any,
) -> EndpointWriter:
    spec = EndpointSpec.model_validate({"base_url": server.url, "model": "m", "max_retries": 3, **endpoint})
    wanted = GenerationSpec.model_validate({"max_new_tokens": 20, **(generation or {})})
    line = HttpLine(spec, secret, ANYWHERE)
    folder.mkdir(exist_ok=True)
    return EndpointWriter(line, spec, wanted, 7, ear or Ear(), texts=texts, ledger=folder)


def silent() -> None:
    pass


def written(writer: EndpointWriter, asks: Sequence[Ask]) -> list[Sample]:
    """All that came before the writer gave up, or all."""
    return [sample for piece in writer.pieces(asks, silent) for sample in piece]


def until_it_fails(
    writer: EndpointWriter, asks: Sequence[Ask], each_token: Callable[[], None] = silent
) -> tuple[list[Sample], Exception | None]:
    """What came before the writer gave up, and why it did."""
    kept: list[Sample] = []
    try:
        for piece in writer.pieces(asks, each_token):
            kept += piece
    except Exception as error:  # noqa: BLE001 - the test says which it must be
        return kept, error
    return kept, None
