"""Tiny models, a tokenizer and data sets made from scratch: no network, a second or two for each job."""

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
)

from core.report import Sizes
from core.spec import JobSpec
from core.training import ResourcesSpec
from core.wire import Level, Progress, Stage
from worker.training.crew import Crew
from worker.training.distil import Inputs, Outcome, distil
from worker.training.observer import StopReason

GOOD = "good great fine lovely warm bright brave clever"
BAD = "bad awful poor dull cold grim cheap clumsy"
PLAIN = "the a film story actor scene music plot and of with very is was"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD.split(), *BAD.split(), *PLAIN.split()]
TINY = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)


def wordpiece(words: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))],
    )
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=64)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return wordpiece(WORDS)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A bare encoder without a head."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(1)
    BertModel(BertConfig(**TINY)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def classifier(
    folder: Path, classes: list[str], tokenizer: PreTrainedTokenizerFast, seed: int = 2, **config: Any
) -> Path:
    """Save a classifier with random weights that are large enough to have opinions."""
    torch.manual_seed(seed)
    names = dict(enumerate(classes))
    settings = {**TINY, **config}
    model = BertForSequenceClassification(
        BertConfig(**settings, id2label=names, label2id={name: place for place, name in names.items()})
    )
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A classifier for neg and pos."""
    return classifier(tmp_path_factory.mktemp("teacher"), ["neg", "pos"], tokenizer)


def sentence(draw: random.Random, is_good: bool) -> str:
    kind = (GOOD if is_good else BAD).split()
    return " ".join(draw.choice(kind if draw.random() < 0.4 else PLAIN.split()) for _ in range(draw.randint(3, 14)))


def write_parquet(path: Path, columns: Mapping[str, list[Any]]) -> Path:
    pq.write_table(pa.table(dict(columns)), path)
    return path


def sentences(count: int, labelled: int, seed: int = 0) -> dict[str, list[Any]]:
    draw = random.Random(seed)
    kinds = [draw.random() < 0.5 for _ in range(count)]
    texts = [sentence(draw, kind) for kind in kinds]
    labels = [("pos" if kind else "neg") if place < labelled else None for place, kind in enumerate(kinds)]
    return {"text": texts, "label": labels}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 sentences, 120 of them labelled."""
    return write_parquet(tmp_path_factory.mktemp("data") / "data.parquet", sentences(200, 120))


@dataclass
class Notebook:
    """An observer that writes everything down, and stops the job where it is told to."""

    stop_when: Callable[["Notebook"], StopReason | None] = lambda _: None
    stages: list[Stage] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    events: list[tuple[Level, str]] = field(default_factory=list)
    sizes_seen: Sizes | None = None
    checkpoints: list[tuple[str, int, Path]] = field(default_factory=list)
    texts_seen: list[tuple[Path, Path]] = field(default_factory=list)

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.series.setdefault(name, []).append((step, value))

    def event(self, message: str, level: Level = "info") -> None:
        self.events.append((level, message))

    def sizes(self, sizes: Sizes) -> None:
        self.sizes_seen = sizes

    def checkpoint(self, phase: str, step: int, folder: Path, metrics: Mapping[str, float]) -> None:
        assert (folder / ("model.safetensors" if phase != "writing" else "corpus.json")).exists()
        self.checkpoints.append((phase, step, folder))

    def texts(self, texts: Path, kept: Path) -> None:
        self.texts_seen.append((texts, kept))

    def stop_reason(self) -> StopReason | None:
        return self.stop_when(self)

    def said(self, words: str) -> bool:
        return any(words in message for _, message in self.events)


def spec_of(**changes: Any) -> JobSpec:
    """A small job; `changes` replace its parts."""
    written: dict[str, Any] = {
        "teacher": "teacher",
        "student": {
            "config": {
                "model_type": "bert",
                **{k: v for k, v in TINY.items() if k != "vocab_size"},
                "num_hidden_layers": 1,
            }
        },
        "dataset": {"id": "ds", "validation": 0.2, "test": 0.2},
        "training": {"max_steps": 6, "batch_size": 16, "max_length": 32, "learning_rate": 1e-3},
    }
    for key, value in changes.items():
        written[key] = {**written[key], **value} if isinstance(written.get(key), dict) and key != "student" else value
    return JobSpec.model_validate(written)


@dataclass(frozen=True)
class Lab:
    """Runs jobs in a folder of their own."""

    folder: Path
    dataset: Path
    teacher: Path

    def run(
        self,
        observer: Notebook | None = None,
        *,
        teachers: tuple[Path, ...] | None = None,
        student_folder: Path | None = None,
        data: Path | None = None,
        folder: str = "job",
        cache: Path | None = None,
        **changes: Any,
    ) -> Outcome:
        inputs = Inputs(
            spec=spec_of(**changes),
            folder=self.folder / folder,
            teachers=teachers or (self.teacher,),
            student=student_folder,
            dataset=data or self.dataset,
            provenance={f"teacher-{place}": {"sha256": "of-the-test"} for place in range(8)},
            cache=cache,
        )
        return distil(inputs, observer or Notebook())


@pytest.fixture
def lab(tmp_path: Path, dataset: Path, teacher_folder: Path) -> Lab:
    return Lab(tmp_path, dataset, teacher_folder)


@pytest.fixture(scope="session")
def standing_crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Two processes, this one counted, for many jobs: to start the other takes seconds."""
    crew = Crew(2, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.close()


@pytest.fixture
def crew(standing_crew: Crew, monkeypatch: pytest.MonkeyPatch) -> Crew:
    """Jobs that ask for two processes get the standing crew."""

    def of(resources: ResourcesSpec, _: Path) -> contextlib.AbstractContextManager[Crew | None]:
        standing_crew.is_sharded = resources.sharded
        return contextlib.nullcontext(standing_crew if resources.processes == 2 else None)

    monkeypatch.setattr("worker.training.distil.crew_of", of)
    return standing_crew


@dataclass(frozen=True)
class Both:
    """The same job in one process and in two."""

    observers: tuple[Notebook, Notebook]
    students: tuple[Path, Path]

    def check(self) -> None:
        """The law: the same losses, the same metrics on the way, the same weights."""
        alone, shared = self.observers
        assert {name: [step for step, _ in points] for name, points in alone.series.items()} == {
            name: [step for step, _ in points] for name, points in shared.series.items()
        }
        for name, points in alone.series.items():
            if name.endswith("_per_second"):
                continue
            expected = pytest.approx([value for _, value in points], rel=1e-3, abs=1e-4)
            assert [value for _, value in shared.series[name]] == expected, name
        own, theirs = (load_file(student / "model.safetensors") for student in self.students)
        assert own.keys() == theirs.keys()
        for name, tensor in own.items():
            torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-4)


def in_one_and_two(run: Callable[[Notebook, str, int], Outcome]) -> Both:
    """Run a job with (observer, folder, processes), alone and shared."""
    observers = (Notebook(), Notebook())
    alone, shared = (run(one, f"of-{count}", count) for count, one in enumerate(observers, 1))
    return Both(observers, (alone.student, shared.student))
