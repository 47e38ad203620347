"""Fifty identical POSTs make one job, on SQLite and on PostgreSQL; and what else both databases must answer alike."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text, update

from core.tables import IdempotentAnswer
from service import idempotency
from tests.servers import make_postgres_database
from tests.service.live import Live, running_service
from tests.service.samples import examples, spec, upload_dataset

KEY = "Idempotency-Key"
END_CONNECTIONS = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings: dict[str, Any] = {}
    if request.param == "postgresql":
        settings["database_url"] = make_postgres_database(request.getfixturevalue("postgres"))
    with running_service(tmp_path_factory.mktemp("both"), **settings) as live:
        yield live


def jobs_named(http: httpx.Client, name: str) -> int:
    return len(http.get("/v1/jobs", params={"q": name, "limit": 100}).json()["data"])


def test_fifty_identical_posts_at_once_make_one_job(both: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 60)
    body = spec(both.http, name="fifty")

    def post(_: int) -> httpx.Response:
        return both.http.post("/v1/jobs", json=body, headers={KEY: "fifty"})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers) == 49
    assert jobs_named(both.http, "fifty") == 1


def test_fifty_posts_without_a_key_make_fifty_jobs(both: Live) -> None:
    body = spec(both.http, name="apart")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: both.http.post("/v1/jobs", json=body), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert jobs_named(both.http, "apart") == 50


def test_a_replay_is_the_stored_answer_whatever_the_order_of_keys(both: Live) -> None:
    body = spec(both.http)
    first = both.http.post("/v1/jobs", json=body, headers={KEY: "replay"})
    both.http.post(f"/v1/jobs/{first.json()['id']}/cancel")
    again = both.http.post("/v1/jobs", json=dict(reversed(body.items())), headers={KEY: "replay"})
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"


def test_another_body_under_the_same_key_is_refused(both: Live) -> None:
    body = spec(both.http)
    assert both.http.post("/v1/jobs", json=body, headers={KEY: "reused"}).status_code == 202
    other = both.http.post("/v1/jobs", json={**body, "T": 3.0}, headers={KEY: "reused"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_refused_post_leaves_its_key_free(both: Live) -> None:
    body = spec(both.http)
    wrong = both.http.post("/v1/jobs", json={**body, "teacher": "nobody"}, headers={KEY: "free"})
    assert wrong.status_code == 422
    assert both.http.post("/v1/jobs", json=body, headers={KEY: "free"}).status_code == 202


def test_a_key_is_free_again_after_a_day(both: Live) -> None:
    body = spec(both.http)
    first = both.http.post("/v1/jobs", json=body, headers={KEY: "day"}).json()["id"]
    with both.database.write() as session:
        before = datetime.now(UTC) - timedelta(hours=25)
        session.execute(update(IdempotentAnswer).where(IdempotentAnswer.key == "day").values(created_at=before))
        session.commit()
    assert both.http.post("/v1/jobs", json=body, headers={KEY: "day"}).json()["id"] != first


def test_an_upload_is_known_by_its_content_not_its_boundary(both: Live) -> None:
    def post(content: bytes, boundary: str) -> httpx.Response:
        headers = {KEY: "upload", "Content-Type": f"multipart/form-data; boundary={boundary}"}
        return both.http.post("/v1/datasets", files={"file": ("x.jsonl", content)}, headers=headers)

    first, again = post(examples(), "aaa"), post(examples(), "bbb")
    assert (first.status_code, again.content) == (201, first.content)
    assert post(examples(7), "ccc").json()["code"] == "idempotency_key_reused"
    kept = {key.split("/")[1] for key, _ in both.service.blobs.list_below("datasets")}
    assert kept <= {row["id"] for row in both.http.get("/v1/datasets?limit=100").json()["data"]}


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä".encode().decode("latin-1")])
def test_a_key_that_is_none_is_refused(both: Live, key: str) -> None:
    answer = both.http.post("/v1/jobs", json=spec(both.http), headers=[(KEY, key.encode("latin-1"))])  # type: ignore[arg-type]
    assert answer.status_code == 422


def test_a_request_in_flight_elsewhere_is_409_for_now(both: Live) -> None:
    if both.database.is_sqlite:
        pytest.skip("SQLite has one writer: the second waits for the first")
    body = spec(both.http)
    with both.database.write() as other:
        other.add(IdempotentAnswer(owner="local", key="flight", fingerprint="x", headers={}, status=None))
        other.flush()
        answer = both.http.post("/v1/jobs", json=body, headers={KEY: "flight"})
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_flight")
        assert "retry-after" in answer.headers
        assert "x-should-retry" not in answer.headers
    assert both.http.post("/v1/jobs", json=body, headers={KEY: "flight"}).status_code == 202


def test_lists_filters_and_system_answer_on_both(both: Live) -> None:
    body = spec(both.http, name="Both Training", labels={"a": "b"})
    job_id = both.http.post("/v1/jobs", json=body).json()["id"]
    assert both.http.get("/v1/jobs?label=a:b&q=tRAIN").json()["data"][0]["id"] == job_id
    system = both.http.get("/v1/system").json()
    assert system["queues"][0]["queued"] >= 1
    assert upload_dataset(both.http)
    assert "distill_jobs" in both.http.get("/metrics").text


def test_a_name_that_an_active_job_will_make_is_taken(both: Live) -> None:
    body = spec(both.http, output={"model": "small-one"})
    assert both.http.post("/v1/jobs", json=body).status_code == 202
    again = both.http.post("/v1/jobs", json=body)
    assert [fault["code"] for fault in again.json()["errors"]] == ["model_name_taken"]


def test_a_database_that_is_away_is_503_and_served_again_when_back(postgres: str, tmp_path: Path) -> None:
    url = make_postgres_database(postgres)
    name = make_url(url).database
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with running_service(tmp_path, database_url=url) as live, engine.connect() as connection:
        body = spec(live.http)
        connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
        connection.execute(END_CONNECTIONS, {"name": name})
        for path in ("/v1/jobs", "/v1/jobs/job_x", "/v1/jobs/job_x/stream", "/metrics"):
            answer = live.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert live.http.post("/v1/jobs", json=body).status_code == 503
        assert live.http.get("/healthz").status_code == 200
        ready = live.http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["database"] != "ok"
        connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
        assert live.http.post("/v1/jobs", json=body).status_code == 202
        assert len(live.http.get("/v1/jobs").json()["data"]) == 1
    engine.dispose()
