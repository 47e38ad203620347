"""A teacher that is only heard: the service's own chat endpoint teaches a student, and the secret stays unseen."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from distill_client import ApiError, Client
from tests.e2e.stack import Stack
from tests.e2e.test_classification import until
from tests.worker.training.language.conftest import bpe, counting, llama, saved
from tests.worker.training.language.texts.conftest import questions, right, trained

# One stack suffices, the one whose parts share nothing: here the secret's key and the allowed servers are settings.
pytestmark = pytest.mark.parametrize("stack", ["distributed"], indirect=True)

JOB_SECONDS = 240
SECRET = "sk-live-0123456789-nobody-sees-this"


@pytest.fixture(scope="module")
def spec(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A teacher that counts, a student that does not yet, and questions with right answers."""
    folder, told = tmp_path_factory.mktemp("texts"), counting(50)
    tokenizer = bpe([*told["prompt"], *told["completion"]])
    teacher = saved(folder / "teacher", trained(llama(), tokenizer), tokenizer)
    student = saved(folder / "student", llama(layers=2, seed=5), tokenizer)
    rows = [{"prompt": question, "answer": right(question)} for question in questions(40)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with stack.client() as client:
        client.models.upload(teacher, "counting")
        client.models.upload(student, "starter")
        dataset = client.datasets.upload(folder / "questions.jsonl", "questions").id
        client.secrets.add("own-service", SECRET)
    prices = {"price_per_million_prompt_tokens": 1.0, "price_per_million_completion_tokens": 2.0}
    endpoint = {"base_url": f"{stack.url}/v1", "model": "counting", "secret": "own-service", "concurrency": 2}
    return {
        "teacher": {"endpoint": {**endpoint, "logprobs": 8, "budget": {"max_tokens": 100_000, **prices}}},
        "alpha": 0.7,
        "student": {"model": "starter"},
        "dataset": {"id": dataset, "validation": 0.0, "test": 0.25},
        "method": {
            "type": "sequence",
            "generation": {"max_new_tokens": 12, "temperature": 0.5},
            "filters": {"deduplicate": None, "verifier": {"type": "exact"}},
        },
        "training": {"max_steps": 20, "batch_size": 8, "max_length": 32, "learning_rate": 5e-3, "precision": "fp32"},
    }


def test_a_student_learns_from_the_services_own_chat_endpoint_and_the_secret_is_nowhere(
    stack: Stack, client: Client, spec: dict[str, Any], tmp_path: Path
) -> None:
    job = client.jobs.submit(spec)
    until(lambda: stack.training_child(job.id) is not None)
    child = stack.training_child(job.id)
    assert child is not None
    shown = [*child.cmdline(), *_environment_of(child)]
    job = client.jobs.wait(job.id, JOB_SECONDS)
    assert job.status == "succeeded", job.error

    report = client.jobs.result(job.id)["report"]
    assert report["teacher"] is None
    assert report["texts"]["spent"]["requests"] >= 41
    assert report["texts"]["spent"]["cost"] > 0
    assert report["texts"]["spent"]["unknown_tokens"] == 0
    assert report["texts"]["kept"] > 20
    assert report["student_after"]["loss"] < report["student_before"]["loss"]
    assert client.jobs.metrics(job.id, names=["endpoint/cost"])["series"]["endpoint/cost"]
    distances = [point["value"] for point in client.jobs.metrics(job.id, names=["kd_loss"])["series"]["kd_loss"]]
    assert distances[-1] < 0.5 * distances[0], "its likeliest tokens are learned too"
    known = next(
        str(event.data) for event in client.jobs.events(job.id) if "likeliest tokens are known" in str(event.data)
    )
    assert "8 likeliest tokens are known" in known

    client.jobs.download_folder(job.id, tmp_path / "student")
    shown += [client.jobs.logs(job.id), str(client.jobs.get(job.id).as_json())]
    shown += [str(event.data) for event in client.jobs.events(job.id)]
    assert not any(SECRET in text for text in shown)
    kept = [path for folder in (stack.data, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert len(kept) > 20
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


def test_a_server_that_the_operator_does_not_name_is_refused(client: Client, spec: dict[str, Any]) -> None:
    endpoint = {**spec["teacher"]["endpoint"], "base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(ApiError, match="may not be called"):
        client.jobs.submit({**spec, "teacher": {"endpoint": endpoint}})


def _environment_of(process: psutil.Process) -> list[str]:
    try:
        return [f"{name}={value}" for name, value in process.environ().items()]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
