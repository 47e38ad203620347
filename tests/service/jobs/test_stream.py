"""A job's events, metrics and logs: as pages, as a stream that resumes, as series."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from core import leases
from core.events import record_event, record_metrics
from tests.service.live import Live
from tests.service.samples import REPORT, claimed, submit

Frame = dict[str, Any]


def frames(response: httpx.Response) -> Iterator[Frame]:
    frame: Frame = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            frame[name] = json.loads(value) if name == "data" else value
        elif frame:
            if "event" in frame:
                yield frame
            frame = {}


def read(http: httpx.Client, job_id: str, last_id: str | None = None, path: str = "events") -> list[Frame]:
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    with http.stream("GET", f"/v1/jobs/{job_id}/{path}", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(frames(response))


@pytest.fixture(scope="module")
def told(live: Live) -> str:
    """A finished job that has said three things and measured two."""
    job_id = submit(live.http)
    lease = claimed(live, job_id)
    with live.database.write() as session:
        record_event(session, job_id, "Reading <b>data</b>")
        record_metrics(session, job_id, [("loss", 1, 2.0), ("loss", 2, 1.5), ("kd_loss", 1, float("inf"))])
        record_event(session, job_id, "One loss is far larger", level="warning")
        leases.succeed(session, lease, REPORT)
        session.commit()
    return job_id


def test_a_stream_tells_everything_and_ends_with_done(http: httpx.Client, told: str) -> None:
    seen = read(http, told)
    assert seen[0]["event"] == "progress"
    assert [frame["event"] for frame in seen if frame["event"] != "progress"] == [
        "metric", "metric", "metric", "status", "status", "log", "log", "done",
    ]  # fmt: skip
    assert [(frame["data"]["name"], frame["data"]["value"]) for frame in seen if frame["event"] == "metric"] == [
        ("loss", 2.0), ("loss", 1.5), ("kd_loss", None),
    ]  # fmt: skip
    assert seen[-1]["data"]["status"] == "succeeded"
    assert read(http, told, path="stream") == seen


def test_a_stream_resumes_behind_any_event_without_loss_or_repetition(http: httpx.Client, told: str) -> None:
    seen = [frame for frame in read(http, told) if frame["event"] != "progress"]
    for place, frame in enumerate(seen[:-1]):
        rest = [later for later in read(http, told, frame["id"]) if later["event"] != "progress"]
        assert rest == seen[place + 1 :]


def test_a_stream_resumed_at_a_progress_event_loses_nothing(http: httpx.Client, told: str) -> None:
    seen = read(http, told)
    assert read(http, told, seen[0]["id"])[1:] == seen[1:]


def test_a_stream_that_was_read_to_its_end_says_so(http: httpx.Client, told: str) -> None:
    last = read(http, told)[-1]["id"]
    for path in (f"events?last_event_id={last}", f"stream?last_event_id={last}"):
        assert http.get(f"/v1/jobs/{told}/{path}", headers={"Accept": "text/event-stream"}).status_code == 204


@pytest.mark.parametrize("wrong", ["x", "1", "1.2.3", "-1.0", "9" * 30])
def test_an_unknown_place_is_refused(http: httpx.Client, told: str, wrong: str) -> None:
    answer = http.get(f"/v1/jobs/{told}/stream", headers={"Last-Event-ID": wrong})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_cursor")


def test_a_stream_follows_a_job_while_it_runs(live: Live) -> None:
    job_id = submit(live.http)

    def run() -> None:
        time.sleep(0.7)
        lease = claimed(live, job_id)
        with live.database.write() as session:
            progress = {"percent": 50.0, "step": 5, "total_steps": 10, "epoch": 1.0, "seconds_elapsed": 1.0}
            leases.renew(session, lease, {"progress": progress, "stage": "training"})
            session.commit()
        time.sleep(0.7)
        with live.database.write() as session:
            leases.succeed(session, lease, REPORT)
            session.commit()

    worker = threading.Thread(target=run)
    worker.start()
    seen = read(live.http, job_id)
    worker.join()
    assert [frame["event"] for frame in seen if frame["event"] != "progress"] == ["status", "status", "done"]
    assert 50.0 in [frame["data"]["percent"] for frame in seen if frame["event"] == "progress"]


def test_a_thousand_metrics_come_in_order_before_done(live: Live) -> None:
    job_id = submit(live.http)
    lease = claimed(live, job_id)
    with live.database.write() as session:
        record_metrics(session, job_id, [("loss", step, float(step)) for step in range(2500)])
        leases.succeed(session, lease, REPORT)
        session.commit()
    seen = read(live.http, job_id)
    assert [frame["data"]["step"] for frame in seen if frame["event"] == "metric"] == list(range(2500))
    assert seen[-1]["event"] == "done"


def test_events_come_in_pages_both_ways(http: httpx.Client, told: str) -> None:
    first = http.get(f"/v1/jobs/{told}/events?limit=3").json()
    rest = http.get(f"/v1/jobs/{told}/events?after={first['last_id']}").json()
    messages = [event["message"] for event in first["data"] + rest["data"]]
    assert len(messages) == 5
    assert messages[0] == "Queued"
    assert messages[-1] == "Succeeded"
    assert (first["has_more"], rest["has_more"]) == (True, False)
    backwards = http.get(f"/v1/jobs/{told}/events?order=desc").json()["data"]
    assert [event["message"] for event in backwards] == messages[::-1]
    assert http.get(f"/v1/jobs/{told}/events?after=evt_x").status_code == 400


def test_metrics_come_as_series_and_as_csv(http: httpx.Client, told: str) -> None:
    both = http.get(f"/v1/jobs/{told}/metrics").json()["series"]
    assert both == {
        "loss": [{"step": 1, "value": 2.0}, {"step": 2, "value": 1.5}],
        "kd_loss": [{"step": 1, "value": None}],
    }
    one = http.get(f"/v1/jobs/{told}/metrics?names=loss&from_step=2").json()["series"]
    assert one == {"loss": [{"step": 2, "value": 1.5}]}
    lines = http.get(f"/v1/jobs/{told}/metrics?names=loss,kd_loss", headers={"Accept": "text/csv"})
    assert lines.headers["content-type"].startswith("text/csv")
    assert lines.text.splitlines() == ["name,step,value", "loss,1,2.0", "loss,2,1.5", "kd_loss,1,inf"]


def test_a_long_series_is_thinned_and_keeps_its_ends(live: Live) -> None:
    job_id = submit(live.http)
    with live.database.write() as session:
        record_metrics(session, job_id, [("loss", step, 1.0) for step in range(1000)])
        session.commit()
    points = live.http.get(f"/v1/jobs/{job_id}/metrics?points=10").json()["series"]["loss"]
    assert len(points) <= 11
    assert (points[0]["step"], points[-1]["step"]) == (0, 999)


def test_logs_are_text_and_have_a_tail(live: Live) -> None:
    job_id = submit(live.http)
    assert live.http.get(f"/v1/jobs/{job_id}/logs").text == ""
    log = live.settings.work / "log"
    log.write_bytes(b"one\n<b>two</b>\nthree \xff\n")
    live.service.blobs.put(f"jobs/{job_id}/log.txt", log)
    whole = live.http.get(f"/v1/jobs/{job_id}/logs")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.text == "one\n<b>two</b>\nthree \ufffd\n"
    assert live.http.get(f"/v1/jobs/{job_id}/logs?tail=2").text == "<b>two</b>\nthree \ufffd\n"
