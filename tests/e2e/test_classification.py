"""What a user does, from upload to a student that classifies; and what happens to the user's job when things die."""

import hashlib
import json
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distill_client import ApiError, Client
from distill_client.shapes import Job
from tests.e2e.conftest import Uploaded
from tests.e2e.stack import Stack, wait_until_ready
from tests.service.pictures import mnist
from tests.service.samples import zipped

# The stack whose parts share nothing. Jobs on the other one: test_logits, test_processes, test_sweeps and test_texts.
pytestmark = pytest.mark.parametrize("stack", ["distributed"], indirect=True)

JOB_SECONDS = 120
# In fp32: whether bf16 pays is measured by each process, and students are compared byte for byte.
LONG = {
    "max_steps": 4000,
    "batch_size": 16,
    "max_length": 32,
    "learning_rate": 1e-4,
    "checkpoint_every_steps": 20,
    "precision": "fp32",
}


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def in_training(client: Client, job: Job, step: int = 1) -> Callable[[], bool]:
    def look() -> bool:
        seen = client.jobs.get(job.id)
        assert not seen.is_finished, seen.error
        points = client.jobs.metrics(job.id, names=["kd_loss"])["series"].get("kd_loss", [])
        return any(point["step"] >= step for point in points)

    return look


def newest_step(client: Client, job: Job) -> int:
    """The last step on record: an attempt that resumes repeats some of them."""
    return max(point["step"] for point in client.jobs.metrics(job.id, names=["kd_loss"])["series"]["kd_loss"])


def sha256_of_student(client: Client, job: Job) -> str:
    return next(file.sha256 for file in client.jobs.artifacts(job.id) if file.path == "model.safetensors")


def test_a_job_goes_from_upload_to_a_student_that_classifies_and_teaches_the_next(
    client: Client, uploaded: Uploaded, tmp_path: Path
) -> None:
    spec = uploaded.spec(name="first", output={"model": "small"})
    resolved = client.jobs.validate(spec)
    assert resolved.spec["task"] == "text-classification"

    job = client.jobs.wait(client.jobs.submit(spec).id, JOB_SECONDS)
    assert job.status == "succeeded", job.error
    assert job.report is not None
    report = client.jobs.result(job.id)["report"]
    for model in ("teacher", "student_before", "student_after", "baseline"):
        assert 0 <= report[model]["accuracy"] <= 1
    gain = report["student_after"]["accuracy"] - report["baseline"]["accuracy"]
    assert report["gain"]["accuracy"] == pytest.approx(gain)
    assert [event.type for event in client.jobs.events(job.id)][-1] == "done"

    client.jobs.download_folder(job.id, tmp_path)
    manifest = json.loads((tmp_path / "MANIFEST.json").read_text())
    for file in manifest["files"]:
        assert hashlib.sha256((tmp_path / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokens = AutoTokenizer.from_pretrained(tmp_path)(["a good film"], return_tensors="pt")
    with torch.no_grad():
        assert student(**tokens).logits.shape == (1, 2)

    distilled = client.models.get("small")
    assert distilled.job == job.id
    assert distilled.parameters == student.num_parameters()
    with pytest.raises(ApiError, match="it is succeeded"):
        client.jobs.cancel(job.id)

    chained = uploaded.spec(teacher=[{"model": job.id, "weight": 2.0}, uploaded.teacher], student="small")
    second = client.jobs.wait(client.jobs.submit(chained).id, JOB_SECONDS)
    assert second.status == "succeeded", second.error
    assert len(client.jobs.result(second.id)["report"]["teachers"]) == 2


def test_images_go_from_a_zip_to_a_teacher_on_labels_alone_and_to_its_student(client: Client, tmp_path: Path) -> None:
    (tmp_path / "digits.zip").write_bytes(zipped(mnist(200, 100)))
    dataset = client.datasets.upload(tmp_path / "digits.zip").id
    alone = {
        "teacher": None,
        "alpha": 0.0,
        "student": {"config": {"architecture": "mlp", "hidden": [16], "dropout": 0.2}},
        "dataset": {"id": dataset, "validation": 0.0, "test": 0.0, "columns": {"split": "split"}},
        "training": {"max_steps": 10, "batch_size": 32, "augment": {"jitter_pixels": 1}},
        "output": {"model": "digits-16"},
    }
    teacher = client.jobs.wait(client.jobs.submit(alone).id, JOB_SECONDS)
    assert teacher.status == "succeeded", teacher.error
    assert client.models.get("digits-16").task == "image-classification"

    student = client.jobs.wait(client.jobs.submit({**alone, "teacher": "digits-16", "alpha": 0.5, "output": {}}).id)
    assert student.status == "succeeded", student.error
    report = client.jobs.result(student.id)["report"]
    for model in ("teacher", "student_after", "baseline"):
        assert report[model]["errors"] == round(100 * (1 - report[model]["accuracy"]))


def test_a_training_rests_goes_on_and_when_cancelled_leaves_its_checkpoint(
    stack: Stack, client: Client, uploaded: Uploaded, tmp_path: Path
) -> None:
    job = client.jobs.submit(uploaded.spec(training=LONG))
    until(in_training(client, job, step=25))
    assert client.jobs.pause(job.id).status == "pausing"
    until(lambda: client.jobs.get(job.id).status == "paused")
    until(lambda: stack.training_child(job.id) is None)
    reached = newest_step(client, job)
    assert client.jobs.resume(job.id).status == "queued"
    until(in_training(client, job, step=reached + 1))

    assert client.jobs.cancel(job.id).status == "cancelling"
    assert client.jobs.cancel(job.id).status in ("cancelling", "cancelled"), "repeating is harmless"
    until(lambda: stack.training_child(job.id) is None)
    until(lambda: client.jobs.get(job.id).status == "cancelled")

    checkpoint = next(kept for kept in client.jobs.checkpoints(job.id) if kept.phase == "student")
    assert checkpoint.step >= 20
    client.jobs.download_checkpoint(job.id, checkpoint.id, tmp_path / "checkpoint.zip")
    with zipfile.ZipFile(tmp_path / "checkpoint.zip") as archive:
        archive.extractall(tmp_path / "checkpoint")
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint")
    assert list(client.jobs.artifacts(job.id)) == []
    assert any("going on from step" in event.message for event in client.jobs.events(job.id))


def test_a_killed_training_resumes_and_its_student_is_the_same_byte_for_byte(
    stack: Stack, client: Client, uploaded: Uploaded
) -> None:
    steps = {**LONG, "max_steps": 400, "seed": 7}
    spec = uploaded.spec(training=steps, evaluation={"baseline": False})
    undisturbed = client.jobs.submit(spec)
    disturbed = client.jobs.submit(spec)
    until(in_training(client, disturbed, step=30), seconds=JOB_SECONDS)
    child = stack.training_child(disturbed.id)
    assert child is not None
    child.send_signal(signal.SIGKILL)

    first = client.jobs.wait(undisturbed.id, JOB_SECONDS)
    second = client.jobs.wait(disturbed.id, JOB_SECONDS)
    assert (first.status, second.status) == ("succeeded", "succeeded"), second.error
    assert (first.attempt, second.attempt) == (1, 2)
    assert any("SIGKILL" in warning for warning in second.warnings)
    assert sha256_of_student(client, first) == sha256_of_student(client, second)


def test_a_broken_job_says_what_to_do(client: Client, uploaded: Uploaded) -> None:
    spec = uploaded.spec(training={**LONG, "max_steps": 200, "learning_rate": 9_000.0, "max_grad_norm": None})
    job = client.jobs.wait(client.jobs.submit(spec).id, JOB_SECONDS)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.blame) == ("loss_diverged", "user")
    assert "learning_rate" in job.error.hint
    assert client.jobs.logs(job.id, tail=5)


def test_a_worker_that_is_stopped_or_killed_leaves_its_job_to_the_next(
    stack: Stack, client: Client, uploaded: Uploaded
) -> None:
    job = client.jobs.submit(uploaded.spec(training={**LONG, "max_steps": 600}, evaluation={"baseline": False}))
    until(in_training(client, job, step=20))
    stack.parts["worker"].terminate()
    assert stack.parts["worker"].wait(90) == 0
    seen = client.jobs.get(job.id)
    assert (seen.status, seen.attempt) == ("queued", 2)
    assert next(kept.step for kept in client.jobs.checkpoints(job.id) if kept.phase == "student") >= 20

    reached = newest_step(client, job)
    stack.start("worker", "worker")
    until(in_training(client, job, step=reached + 1))
    child = stack.training_child(job.id)
    assert child is not None
    stack.parts["worker"].kill()
    stack.parts["worker"].wait()
    child.wait(60)
    stack.start("worker", "worker")
    done = client.jobs.wait(job.id, JOB_SECONDS)
    assert (done.status, done.attempt) == ("succeeded", 3)


def test_a_flushed_broker_and_a_killed_service_delay_a_job_and_lose_none(
    stack: Stack, client: Client, uploaded: Uploaded
) -> None:
    short = uploaded.spec(teacher=uploaded.teacher, training={**LONG, "max_steps": 4}, evaluation={"baseline": False})
    blocking, waiting = client.jobs.submit(short), client.jobs.submit(short)
    with redis.Redis.from_url(stack.environment["DISTILL_BROKER_URL"]) as broker:
        broker.flushall()
    stack.parts["service"].kill()
    stack.parts["service"].wait()
    stack.start("service", "service")
    wait_until_ready(stack.url)
    assert client.jobs.wait(blocking.id, JOB_SECONDS).status == "succeeded"
    assert client.jobs.wait(waiting.id, JOB_SECONDS).status == "succeeded"
    assert httpx.get(f"{stack.url}/healthz").status_code == httpx.codes.OK
