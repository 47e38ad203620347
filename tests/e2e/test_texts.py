"""What a teacher writes outlives a killed worker, a cancelled job and the job itself, and trains the next student."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from distill_client import Client
from distill_client.shapes import Job
from tests.e2e.stack import Stack
from tests.e2e.test_classification import JOB_SECONDS, sha256_of_student, until
from tests.worker.training.language.conftest import NUMBERS, bpe, llama, saved
from tests.worker.training.language.texts.conftest import questions, right, trained

# What differs between the stacks is tested with classifiers and in tests/worker/test_texts.py.
pytestmark = pytest.mark.parametrize("stack", ["embedded"], indirect=True)

PROMPTS = 240
TRAINING = {"max_steps": 6, "batch_size": 8, "max_length": 48, "learning_rate": 1e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def asked(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A job whose teacher counts, to be changed."""
    folder = tmp_path_factory.mktemp("texts")
    tokenizer = bpe([*questions(7), *map(right, questions(7)), *NUMBERS])
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in questions(PROMPTS)))
    with stack.client() as client:
        teacher = client.models.upload(saved(folder / "teacher", trained(llama(), tokenizer), tokenizer), "counting")
        dataset = client.datasets.upload(folder / "prompts.jsonl", "questions")
    generation = {"max_new_tokens": 16, "temperature": 1.0, "batch_size": 1}
    return {
        "teacher": teacher.name,
        "student": {"from_teacher": {"layers": [0, 2]}},
        "dataset": dataset.id,
        "method": {"type": "sequence", "generation": generation, "filters": {"deduplicate": None}},
        "training": TRAINING,
    }


def texts_of(client: Client, job: Job, folder: Path) -> list[dict[str, Any]]:
    file = next(one for one in client.jobs.artifacts(job.id) if one.path == "texts.jsonl")
    client.jobs.download_artifact(job.id, file, folder / "texts.jsonl")
    return [json.loads(line) for line in (folder / "texts.jsonl").read_text(encoding="utf-8").splitlines()]


def next_job(asked: dict[str, Any], dataset: str) -> dict[str, Any]:
    """A job that learns from kept texts as they are, in the parts that they were kept in."""
    plain = {name: value for name, value in asked.items() if name != "method"}
    return {**plain, "dataset": {"id": dataset, "columns": {"split": "split"}}}


def test_killed_while_its_teacher_writes_a_job_writes_no_text_twice(
    stack: Stack, client: Client, asked: dict[str, Any], tmp_path: Path
) -> None:
    undisturbed, disturbed = client.jobs.submit(asked), client.jobs.submit(asked)

    def writes() -> bool:
        assert not (seen := client.jobs.get(disturbed.id)).is_finished, seen.error
        points = client.jobs.metrics(disturbed.id, names=["writing/tokens_per_second"])["series"]
        return any(point["step"] >= 20 for point in points.get("writing/tokens_per_second", []))

    until(writes, seconds=JOB_SECONDS)
    child = stack.training_child(disturbed.id)
    assert child is not None
    child.send_signal(signal.SIGKILL)
    first, second = (client.jobs.wait(job.id, JOB_SECONDS) for job in (undisturbed, disturbed))
    assert (first.status, second.status) == ("succeeded", "succeeded"), second.error
    assert (first.attempt, second.attempt) == (1, 2)
    said = [event.message for event in client.jobs.events(disturbed.id)]
    assert any(f"of {PROMPTS} texts" in message and "going on from" in message for message in said)
    assert sha256_of_student(client, first) == sha256_of_student(client, second)
    lines = texts_of(client, second, tmp_path)
    assert len({line["prompt_index"] for line in lines}) == len(lines)

    (dataset,) = [one for one in client.datasets.list() if one.derived_from == disturbed.id]
    assert dataset.examples == sum(line["verdict"] == "kept" for line in lines)
    assert set(client.datasets.examples(dataset.id, 1)[0]) >= {"prompt", "completion", "messages", "split"}


def test_what_was_written_before_a_cancel_is_there_to_learn_from(
    client: Client, asked: dict[str, Any], tmp_path: Path
) -> None:
    job = client.jobs.submit({**asked, "training": {**TRAINING, "max_steps": 4000}})
    until(lambda: client.jobs.get(job.id).stage == "training", seconds=JOB_SECONDS)
    client.jobs.cancel(job.id)
    until(lambda: client.jobs.get(job.id).status == "cancelled")
    assert len(texts_of(client, job, tmp_path)) == PROMPTS
    (dataset,) = [one for one in client.datasets.list() if one.derived_from == job.id]
    client.jobs.delete(job.id)
    learned = client.jobs.wait(client.jobs.submit(next_job(asked, dataset.id)).id, JOB_SECONDS)
    assert learned.status == "succeeded", learned.error
    report = client.jobs.result(learned.id)["report"]
    assert report["texts"] is None, "nothing was written again"
    assert report["student_after"]["kl_to_teacher"] < report["student_before"]["kl_to_teacher"]
