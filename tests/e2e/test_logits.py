"""A language model learns from its teacher's logits through the service, writes, and teaches the next."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_client import Client
from distill_client.shapes import GenerationReport
from tests.e2e.stack import Stack
from tests.e2e.test_classification import JOB_SECONDS
from tests.worker.training.language.conftest import bpe, chats, counting, llama, saved

# What differs between the stacks is tested with classifiers and in tests/worker/test_texts.py.
pytestmark = pytest.mark.parametrize("stack", ["embedded"], indirect=True)

TRAINING = {"max_steps": 40, "batch_size": 8, "max_length": 64, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def asked(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A job on chats, as small as one can be written: its task is decided from the data set's columns."""
    folder = tmp_path_factory.mktemp("logits")
    told = counting(50)
    teacher = saved(folder / "teacher", llama(), bpe([*told["prompt"], *told["completion"]]))
    (folder / "chats.jsonl").write_text("".join(f'{{"messages": {chat}}}\n' for chat in chats(80)["messages"]))
    with stack.client() as client:
        return {
            "teacher": client.models.upload(teacher, "counts").name,
            "student": {"from_teacher": {"layers": [0, 2]}},
            "dataset": client.datasets.upload(folder / "chats.jsonl", "chats").id,
            "training": TRAINING,
            "T": 1.0,
            "alpha": 0.95,
            "evaluation": {"baseline": False},
        }


def test_a_student_learns_writes_and_teaches_the_next(client: Client, asked: dict[str, Any], tmp_path: Path) -> None:
    first = client.jobs.wait(client.jobs.submit({**asked, "output": {"model": "counts-small"}}).id, JOB_SECONDS)
    assert first.status == "succeeded", first.error
    assert first.spec["task"] == "text-generation"
    assert isinstance(first.report, GenerationReport)
    assert (first.report.student_after.kl_to_teacher or 0) < (first.report.student_before.kl_to_teacher or 0)

    client.jobs.download_student(first.id, tmp_path)
    student, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    turn = [{"role": "user", "content": "Count from one:"}]
    ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert student.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] > ids["input_ids"].shape[1]

    assert client.models.get("counts-small").task == "text-generation"
    chain = {**asked, "teacher": "counts-small", "student": first.id, "training": {**TRAINING, "max_steps": 4}}
    second = client.jobs.wait(client.jobs.submit(chain).id, JOB_SECONDS)
    assert second.status == "succeeded", second.error
    assert isinstance(second.report, GenerationReport)
    assert second.report.student_before.kl_to_teacher == pytest.approx(0, abs=1e-4)
