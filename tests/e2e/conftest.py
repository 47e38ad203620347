"""Every end-to-end test runs on both kinds of stack: the same code, the same tests, other URLs."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from distill_client import Client
from tests.e2e.stack import Stack, distributed, embedded
from tests.worker.training.conftest import TINY, WORDS, classifier, sentences, wordpiece


@pytest.fixture(scope="session", params=["embedded", "distributed"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        with embedded(folder) as running:
            yield running
    else:
        postgres, valkey = request.getfixturevalue("postgres"), request.getfixturevalue("valkey")
        with distributed(folder, postgres, valkey) as running:
            yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as client:
        yield client


@dataclass(frozen=True)
class Uploaded:
    """What every job here is made of: a teacher that knows `neg` and `pos`, and sentences of both."""

    teacher: str
    dataset: str

    def spec(self, **changed: Any) -> dict[str, Any]:
        student = {key: value for key, value in TINY.items() if key != "vocab_size"} | {"num_hidden_layers": 1}
        smallest: dict[str, Any] = {
            "teacher": {"model": self.teacher, "finetune": {"epochs": 2, "learning_rate": 1e-3}},
            "student": {"config": {"model_type": "bert", **student}},
            "dataset": {"id": self.dataset, "validation": 0.1, "test": 0.2},
            "training": {"max_steps": 20, "batch_size": 16, "max_length": 32, "learning_rate": 1e-3},
        }
        return smallest | changed


def upload_all(stack: Stack, folder: Path) -> Uploaded:
    (folder / "teacher").mkdir()
    teacher = classifier(folder / "teacher", ["neg", "pos"], wordpiece(WORDS))
    with (folder / "sentences.csv").open("w", newline="") as file:
        columns = sentences(300, 200)
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    with stack.client() as client:
        model = client.models.upload(teacher, "teacher")
        return Uploaded(model.name, client.datasets.upload(folder / "sentences.csv", "sentences").id)


@pytest.fixture(scope="session")
def uploaded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Uploaded:
    return upload_all(stack, tmp_path_factory.mktemp("uploads"))
