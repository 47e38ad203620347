"""The client against the real service, with a worker that the test plays."""

import threading
from pathlib import Path

import pytest

from core.wire import JobError
from distill_client import ApiError, JobTimeout
from tests.distill_client.live import Live, live_service, running_service
from tests.servers import free_port

ROWS = '{"text": "good", "label": "positive"}\n{"text": "bad", "label": "negative"}\n'


@pytest.fixture
def dataset_file(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.jsonl"
    file.write_text(ROWS * 10)
    return file


def test_a_dataset_goes_up_and_comes_back_as_examples(live: Live, dataset_file: Path) -> None:
    with live.client() as client:
        made = client.datasets.upload(dataset_file, "reviews")
        assert (made.examples, made.name) == (20, "reviews")
        assert client.datasets.examples(made.id, 2) == [
            {"text": "good", "label": "positive"},
            {"text": "bad", "label": "negative"},
        ]
        client.datasets.delete(made.id)
        with pytest.raises(ApiError, match="no data set"):
            client.datasets.get(made.id)


def test_a_broken_dataset_is_refused_with_lines(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text('{"text": "a", "label": "x"}\n{"text": \n')
    with live.client() as client, pytest.raises(ApiError) as raised:
        client.datasets.upload(file)
    assert raised.value.status == 422
    assert raised.value.faults[0].line == 2


def test_a_wrong_spec_is_refused_with_a_fault_for_each_field(live: Live) -> None:
    with live.client() as client, pytest.raises(ApiError) as raised:
        client.jobs.submit({"teacher": "nobody", "student": "nobody", "dataset": "ds_none", "T": 0})
    assert "/T" in raised.value.errors


def test_lists_are_walked_over_their_pages(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_client.pages.PAGE_LIMIT", 2)
    made = [live.job(labels={"walk": "yes"}) for _ in range(5)]
    with live.client() as client:
        assert [job.id for job in client.jobs.list(label="walk:yes")] == made[::-1]
        assert [job.id for job in client.jobs.list(label="walk:yes", limit=3)] == made[:1:-1]


def test_wait_returns_a_job_however_it_ends(live: Live) -> None:
    job_id = live.job()
    worker = live.worker(job_id)
    error = JobError(code="loss_diverged", message="loss was nan at step 3", hint="Lower it.", stage="training", step=3)
    timer = threading.Timer(0.2, worker.fail, [error])
    timer.start()
    with live.client() as client:
        job = client.jobs.wait(job_id, timeout_seconds=20)
    timer.join()
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "loss_diverged"


def test_wait_gives_up_after_its_seconds(live: Live) -> None:
    with live.client() as client, pytest.raises(JobTimeout):
        client.jobs.wait(live.job(), timeout_seconds=0.3)


def test_the_events_of_a_life_come_in_order_and_end(live: Live) -> None:
    job_id = live.finished_job()
    with live.client() as client:
        events = list(client.jobs.events(job_id))
    assert [event.message for event in events if event.type in ("status", "done")] == [
        "Queued",
        "Started on played",
        "Succeeded",
    ]
    assert [event.data["value"] for event in events if event.data.get("name") == "kd_loss"] == [1.7, 1.1]
    assert events[-1].type == "done"


def test_events_begin_behind_a_given_one(live: Live) -> None:
    job_id = live.finished_job()
    with live.client() as client:
        everything = [event for event in client.jobs.events(job_id) if event.type != "progress"]
        behind = [event for event in client.jobs.events(job_id, everything[1].id) if event.type != "progress"]
    assert [event.id for event in behind] == [event.id for event in everything[2:]]


def test_a_stream_outlives_a_restart_of_the_service(tmp_path: Path) -> None:
    port = free_port()
    heard: list[str] = []
    with live_service(tmp_path, port) as live:
        job_id = live.job()
        worker = live.worker(job_id)
        worker.say("before")
        client = live.client()
        stream = client.jobs.events(job_id)
        while not heard or heard[-1] != "before":
            heard.append(next(stream).message)
    with running_service(tmp_path, port):
        worker.say("after")
        worker.succeed()
        heard += [event.message for event in stream]
        client.close()
    said = [message for message in heard if message]
    assert said == ["Queued", "Started on played", "before", "after", "Succeeded"]


def test_the_student_comes_without_the_teacher_and_the_teacher_on_request(live: Live, tmp_path: Path) -> None:
    job_id = live.finished_job()
    with live.client() as client:
        student = client.jobs.download_student(job_id, tmp_path / "student")
        teacher = client.jobs.download_folder(job_id, tmp_path / "teacher", "teacher/")
    assert [file.name for file in student] == ["config.json", "model.safetensors", "report.html"]
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == bytes(range(256)) * 400
    assert [file.relative_to(tmp_path / "teacher").as_posix() for file in teacher] == ["config.json"]


def test_a_part_from_an_earlier_attempt_is_continued(live: Live, tmp_path: Path) -> None:
    job_id = live.finished_job()
    (tmp_path / "model.safetensors.part").write_bytes(bytes(range(256)) * 100)
    moved: list[int] = []
    with live.client() as client:
        weights = next(one for one in client.jobs.artifacts(job_id) if one.path == "model.safetensors")
        client.jobs.download_artifact(
            job_id, weights, tmp_path / "model.safetensors", lambda done, _: moved.append(done)
        )
    assert moved[0] > 25_600
    assert moved[-1] == weights.bytes


def test_a_checkpoint_comes_as_a_zip(live: Live, tmp_path: Path) -> None:
    job_id = live.job()
    worker = live.worker(job_id)
    worker.checkpoint(10)
    newest = worker.checkpoint(20)
    with live.client() as client:
        assert next(client.jobs.checkpoints(job_id)).id == newest
        file = client.jobs.download_checkpoint(job_id, newest, tmp_path / "c.zip")
    assert file.read_bytes()[:2] == b"PK"
    worker.succeed()


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    with live_service(tmp_path) as live, live.client() as local:
        key = local.keys.create("ci", ["read", "admin"])
        with pytest.raises(ApiError) as raised:
            list(local.jobs.list())
        assert raised.value.status == 401
        assert key.secret is not None
        with type(local)(live.url, key.secret) as keyed:
            assert [one.name for one in keyed.keys.list()] == ["ci"]
            keyed.keys.revoke(key.id)
            with pytest.raises(ApiError):
                list(keyed.jobs.list())
