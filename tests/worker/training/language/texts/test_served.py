"""A teacher behind a real server, `transformers serve`, writes what its model writes here, and a student learns it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from core.endpoints import EndpointSpec, NoLogprobs, TeacherRefused
from core.methods import GenerationSpec
from core.report import REPORT
from tests.servers import free_port
from tests.worker.training.conftest import Notebook
from tests.worker.training.endpoint.conftest import ANYWHERE, Ear, silent
from tests.worker.training.language.conftest import WritingLab, llama, saved
from tests.worker.training.language.texts.conftest import GENERATION, method, questions
from worker.endpoints import HttpLine
from worker.training.endpoint.writer import EndpointWriter
from worker.training.generation.samples import Ask, Prompt
from worker.training.generation.writer import ModelWriter

START_SECONDS = 120.0
GREEDY = GenerationSpec.model_validate({**GENERATION, "temperature": 0.0})
ASKS = [Ask(Prompt(index, question), 0) for index, question in enumerate(questions(5))]


@dataclass(frozen=True)
class Served:
    url: str
    folder: Path

    def endpoint(self, **more: Any) -> EndpointSpec:
        written = {"base_url": self.url, "model": str(self.folder), "concurrency": 3, **more}
        return EndpointSpec.model_validate(written)

    def writer(self, ledger: Path, generation: GenerationSpec = GREEDY, **more: Any) -> EndpointWriter:
        endpoint = self.endpoint(**more)
        line = HttpLine(endpoint, "sk-any-value", ANYWHERE)
        return EndpointWriter(line, endpoint, generation, 7, Ear(), texts=40, ledger=ledger)


@pytest.fixture(scope="module")
def served(counting_teacher: Path) -> Iterator[Served]:
    port, log = free_port(), counting_teacher.with_name("serve.log")
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(counting_teacher)]
    with log.open("wb") as written:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            stdout=written,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield Served(f"http://127.0.0.1:{port}/v1", counting_teacher)
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False) as client:
        while True:
            try:
                if client.get(url).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


@pytest.mark.parametrize("chat", [None, False], ids=["chat", "plain"])
def test_it_writes_what_the_same_model_writes_here(served: Served, tmp_path: Path, chat: bool | None) -> None:
    spec = GREEDY.model_copy(update={"chat": chat, "system_prompt": "be brief" if chat is None else None})
    model = AutoModelForCausalLM.from_pretrained(served.folder)
    tokenizer = AutoTokenizer.from_pretrained(served.folder)
    here = ModelWriter(model, tokenizer, spec, seed=7).write(ASKS, silent)
    there = served.writer(tmp_path, spec).write(ASKS, silent)
    for own, other in zip(here, there, strict=True):
        assert other.text.strip() == own.text.strip()
        assert other.prompt_tokens == own.prompt_tokens
        assert other.completion_tokens - own.completion_tokens in (0, 1), "a server counts the token that ends a text"


def test_a_student_learns_from_a_teacher_that_is_only_heard(
    served: Served, lab: WritingLab, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    prices = {"price_per_million_prompt_tokens": 1.0, "price_per_million_completion_tokens": 2.0}
    endpoint = served.endpoint(budget={"max_tokens": 100_000, **prices})
    notebook = Notebook()
    outcome, report = lab.run(
        notebook,
        line=HttpLine(endpoint, None, ANYWHERE),
        student_folder=saved(tmp_path / "student", llama(layers=2, seed=5), tokenizer),
        teacher={"endpoint": endpoint.model_dump(mode="json")},
        student={"model": "student"},
        method=method(
            filters={"deduplicate": None, "verifier": {"type": "exact"}},
            generation={**GENERATION, "temperature": 0.5},
        ),
        training={"max_steps": 40, "learning_rate": 5e-3},
    )
    assert report.teacher is None
    assert (report.compression, report.student_after.kl_to_teacher) == (None, None)
    assert report.student_after.loss < 0.5 * report.student_before.loss
    assert report.gain is not None
    assert report.gain.loss_interval.high < 0
    assert report.texts is not None
    assert report.texts.spent is not None
    assert report.texts.spent.requests == report.texts.samples + 1 == 57
    assert report.texts.spent.cost == pytest.approx(
        (report.texts.spent.prompt_tokens + 2 * report.texts.spent.completion_tokens) / 1e6
    )
    assert notebook.series["endpoint/cost"][-1][1] == report.texts.spent.cost
    assert report.samples[0].teacher
    assert REPORT.validate_json((outcome.student / "report.json").read_text()) == report
    page, card = ((outcome.student / name).read_text() for name in ("report.html", "README.md"))
    assert "57</b><span>requests to" in page
    assert "The teacher was asked 57 times" in card
    lines = [json.loads(line) for line in (outcome.student / "texts.jsonl").read_text().splitlines()]
    assert {line["verdict"] for line in lines} <= {"kept", "dropped"}
    assert sum(line["completion_tokens"] for line in lines) <= report.texts.spent.completion_tokens
    AutoModelForCausalLM.from_pretrained(outcome.student)


def test_a_model_that_it_does_not_serve_is_refused_in_its_words(served: Served, tmp_path: Path) -> None:
    with pytest.raises(TeacherRefused, match="Server is pinned"):
        served.writer(tmp_path, model="another").write(ASKS, silent)


def test_a_server_that_tells_no_logprobs_is_found_out(served: Served, tmp_path: Path) -> None:
    with pytest.raises(NoLogprobs):
        served.writer(tmp_path, logprobs=5).write(ASKS, silent)


def test_a_parameter_that_it_does_not_know_is_refused_in_its_words(served: Served, tmp_path: Path) -> None:
    with pytest.raises(TeacherRefused, match="Unexpected fields"):
        served.writer(tmp_path, GREEDY.model_copy(update={"min_p": 0.1})).write(ASKS, silent)
