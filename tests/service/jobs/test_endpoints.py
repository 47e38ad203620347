"""Submitting, looking at and steering jobs, over HTTP."""

import threading
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from core import leases
from core.models import student_of
from core.tables import Job
from core.wire import JobError
from service.jobs.examples import FULL
from tests.service.live import Live
from tests.service.samples import (
    claimed,
    examples,
    finished,
    spec,
    submit,
    upload_dataset,
    upload_model,
)


def test_a_job_is_accepted_with_every_default_in_its_spec(http: httpx.Client) -> None:
    written = spec(http)
    answer = http.post("/v1/jobs", json=written)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert job["status"] == "queued"
    assert job["spec"]["teacher"]["model"] == written["teacher"]
    assert job["spec"]["task"] == "text-classification"
    assert job["spec"]["training"]["batch_size"] == 32
    assert job["loss"] == {"formula": "alpha*T^2*KL(teacher||student)+(1-alpha)*CE", "T": 2.0, "alpha": 0.5}
    assert job["estimate"]["seconds"] > 0
    assert http.get(f"/v1/jobs/{job['id']}").json() == job


def test_the_full_example_of_the_documentation_is_accepted(http: httpx.Client) -> None:
    upload_model(http, name="my-teacher")
    answer = http.post("/v1/jobs", json={**FULL, "dataset": {**FULL["dataset"], "id": upload_dataset(http)}})  # type: ignore[dict-item]
    assert answer.status_code == 202, answer.text


def test_a_dry_run_answers_the_spec_and_stores_nothing(http: httpx.Client) -> None:
    before = len(http.get("/v1/jobs?limit=100").json()["data"])
    answer = http.post("/v1/jobs?dry_run=true", json=spec(http))
    assert answer.status_code == 200
    assert set(answer.json()) == {"object", "spec", "estimate", "warnings"}
    assert len(http.get("/v1/jobs?limit=100").json()["data"]) == before


def test_an_accepted_job_does_not_wait_for_a_broker(http: httpx.Client) -> None:
    written = spec(http)
    began = time.monotonic()
    assert http.post("/v1/jobs", json=written).status_code == 202
    assert time.monotonic() - began < 5


def test_pages_walk_every_job_once_in_both_orders(http: httpx.Client) -> None:
    written = spec(http, labels={"set": "pages"})
    made = [http.post("/v1/jobs", json=written).json()["id"] for _ in range(5)]
    for order, expected in (("asc", made), ("desc", made[::-1])):
        seen, after, has_more = [], "", True
        while has_more:
            page = http.get(f"/v1/jobs?label=set:pages&limit=2&order={order}{after}").json()
            assert page["first_id"] == page["data"][0]["id"]
            seen += [job["id"] for job in page["data"]]
            after, has_more = f"&after={page['last_id']}", page["has_more"]
        assert seen == expected


def test_filters_keep_what_they_say(http: httpx.Client) -> None:
    written = spec(http, name="Café au lait", labels={"team": "a:b"})
    job_id = http.post("/v1/jobs", json=written).json()["id"]
    created = http.get(f"/v1/jobs/{job_id}").json()["created_at"]

    def found(**params: str) -> list[str]:
        return [job["id"] for job in http.get("/v1/jobs", params=params).json()["data"]]

    assert found(label="team:a:b") == [job_id]
    assert found(q="fé AU") == [job_id]
    assert found(q="%") == []
    assert job_id not in found(status="succeeded")
    assert job_id in found(status="queued", task="text-classification")
    assert job_id not in found(created_after=created)
    assert job_id not in found(created_before=created)


@pytest.mark.parametrize("query", ["after=job_x", "limit=0", "limit=101", "order=up", "status=done", "label=x"])
def test_a_wrong_query_is_refused(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/jobs?{query}")
    assert answer.status_code == (400 if query.startswith("after") else 422)
    assert answer.json()["code"] in ("unknown_cursor", "invalid_value", "label_filter")


def test_an_unchanged_job_is_not_sent_again(http: httpx.Client) -> None:
    job_id = submit(http)
    etag = http.get(f"/v1/jobs/{job_id}").headers["etag"]
    again = http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    http.post(f"/v1/jobs/{job_id}/cancel")
    assert http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag}).status_code == 200


def test_waiting_answers_when_the_job_changes(http: httpx.Client) -> None:
    job_id = submit(http)
    began = time.monotonic()
    threading.Timer(0.5, lambda: http.post(f"/v1/jobs/{job_id}/cancel")).start()
    assert http.get(f"/v1/jobs/{job_id}?wait=20").json()["status"] == "cancelled"
    assert 0.4 < time.monotonic() - began < 15


def test_waiting_in_vain_ends_with_the_seconds(http: httpx.Client) -> None:
    job_id = submit(http)
    began = time.monotonic()
    etag = http.get(f"/v1/jobs/{job_id}").headers["etag"]
    assert http.get(f"/v1/jobs/{job_id}?wait=1", headers={"If-None-Match": etag}).status_code == 304
    assert time.monotonic() - began > 0.9


def test_many_may_wait_at_once_and_others_are_served(live: Live) -> None:
    job_id = submit(live.http)

    def wait() -> None:
        live.http.get(f"/v1/jobs/{job_id}?wait=30")

    waiting = [threading.Thread(target=wait) for _ in range(60)]
    for thread in waiting:
        thread.start()
    assert live.http.get("/v1/jobs").status_code == 200
    assert all(thread.is_alive() for thread in waiting)
    live.http.post(f"/v1/jobs/{job_id}/cancel")
    for thread in waiting:
        thread.join()


def test_cancelling_is_harmless_to_repeat_and_impossible_after_success(live: Live, tmp_path: Path) -> None:
    http = live.http
    job_id = submit(http)
    for _ in range(2):
        answer = http.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    done = finished(live, {}, tmp_path)
    refused = http.post(f"/v1/jobs/{done}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "impossible_move")
    assert refused.headers["x-should-retry"] == "false"


def test_a_running_job_is_asked_to_stop(live: Live) -> None:
    job_id = submit(live.http)
    claimed(live, job_id)
    assert live.http.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelling"


def test_a_failed_job_shows_why_and_can_be_tried_again(live: Live) -> None:
    job_id = submit(live.http)
    lease = claimed(live, job_id)
    with live.database.write() as session:
        leases.fail(session, lease, JobError(code="loss_diverged", message="nan", hint="lower it", blame="user"))
        session.commit()
    shown = live.http.get(f"/v1/jobs/{job_id}").json()
    assert (shown["status"], shown["error"]["code"]) == ("failed", "loss_diverged")
    again = live.http.post(f"/v1/jobs/{job_id}/retry").json()
    assert (again["status"], again["attempt"], again["error"]) == ("queued", 2, None)


def test_a_job_that_rests_leaves_its_queue_and_comes_back_to_it(http: httpx.Client) -> None:
    job_id = submit(http, resources={"queue": "resting"})
    for _ in range(2):
        paused = http.post(f"/v1/jobs/{job_id}/pause")
        assert (paused.status_code, paused.json()["status"]) == (202, "paused")
        assert paused.json()["progress"]["queue_position"] is None
    refused = http.post(f"/v1/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "impossible_move")
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 409, "it is not over"
    for _ in range(2):
        resumed = http.post(f"/v1/jobs/{job_id}/resume").json()
        assert (resumed["status"], resumed["attempt"], resumed["progress"]["queue_position"]) == ("queued", 2, 1)
    http.post(f"/v1/jobs/{job_id}/cancel")
    for verb in ("pause", "resume"):
        assert http.post(f"/v1/jobs/{job_id}/{verb}").status_code == 409


def test_deleting_takes_the_files_too_and_only_of_what_is_over(live: Live) -> None:
    http, job_id = live.http, submit(live.http)
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 409
    http.post(f"/v1/jobs/{job_id}/cancel")
    log = live.settings.work / "log"
    log.write_text("hello")
    live.service.blobs.put(f"jobs/{job_id}/log.txt", log)
    student = f"models/{student_of(job_id)}"
    live.service.blobs.put(f"{student}/1/model.safetensors", log)
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert http.get(f"/v1/jobs/{job_id}").json()["code"] == "job_not_found"
    assert list(live.service.blobs.list_below(f"jobs/{job_id}")) == []
    assert list(live.service.blobs.list_below(student)) == []


def test_a_deleted_jobs_student_stays(live: Live, tmp_path: Path) -> None:
    job_id = finished(live, {"config.json": b"{}"}, tmp_path)
    assert live.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert live.http.get(f"/v1/models/{job_id}/files/config.json").content == b"{}"


def test_the_result_comes_when_the_job_is_finished(live: Live, tmp_path: Path) -> None:
    early = live.http.get(f"/v1/jobs/{submit(live.http)}/result")
    assert (early.status_code, early.json()["code"]) == (404, "result_not_ready")
    assert int(early.headers["retry-after"]) > 0
    job_id = finished(live, {"config.json": b"{}"}, tmp_path)
    result = live.http.get(f"/v1/jobs/{job_id}/result").json()
    assert result["status"] == "succeeded"
    assert result["report"]["student_after"]["accuracy"] == 0.75
    assert [artifact["path"] for artifact in result["artifacts"]] == ["config.json"]


def test_queue_positions_count_from_one(http: httpx.Client) -> None:
    written = spec(http, resources={"queue": "lonely"})
    made = [http.post("/v1/jobs", json=written).json()["id"] for _ in range(2)]
    places = [http.get(f"/v1/jobs/{job_id}").json()["progress"]["queue_position"] for job_id in made]
    assert places == [1, 2]
    listed = http.get("/v1/jobs", params={"limit": 2}).json()["data"]
    assert [job["progress"]["queue_position"] for job in listed] == [2, 1]


def test_a_page_asks_the_database_as_often_whatever_its_length(live: Live) -> None:
    written = spec(live.http)
    for _ in range(5):
        live.http.post("/v1/jobs", json=written)
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    counts = []
    event.listen(live.database.engine, "before_cursor_execute", note)
    try:
        for limit in (1, 5):
            asked.clear()
            assert len(live.http.get("/v1/jobs", params={"limit": limit}).json()["data"]) == limit
            counts.append(len(asked))
    finally:
        event.remove(live.database.engine, "before_cursor_execute", note)
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("patient")
def test_a_published_job_is_marked_so(valkey: str, tmp_path: Path) -> None:
    from tests.service.live import running_service

    with running_service(tmp_path, broker_url=valkey) as live:
        job_id = submit(live.http)
        with live.database.read() as session:
            assert session.get_one(Job, job_id).published_at is not None


def test_markup_in_names_stays_text(http: httpx.Client) -> None:
    name = "<script>alert(1)</script>"
    job_id = submit(http, name=name, labels={"x": name})
    answer = http.get(f"/v1/jobs/{job_id}")
    assert answer.json()["name"] == name
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_examples_without_labels_are_allowed_with_alpha_one(http: httpx.Client) -> None:
    dataset = upload_dataset(http, examples().replace(b'"label"', b'"other"'))
    answer = http.post("/v1/jobs?dry_run=true", json=spec(http, dataset=dataset, alpha=1))
    assert answer.status_code == 200, answer.text
    assert "baseline" in answer.json()["warnings"][0]
