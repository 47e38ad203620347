"""Who may do what: keys, scopes, owners; and no key at all on this machine alone."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from core.api_keys import issue
from core.tables import ApiKey
from tests.service.live import Live, running_service
from tests.service.samples import lines, submit, upload_dataset, upload_model, upload_writer


class Keys:
    """A service with keys, and clients that hold one each."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.clients: list[httpx.Client] = []
        self.ann = self.client("ann")
        self.bob = self.client("bob")
        self.reader = self.client("ann", ["read"])
        self.writer = self.client("ann", ["write"])

    def client(self, owner: str, scopes: Any = ("read", "write", "admin"), **more: Any) -> httpx.Client:
        with self.live.database.write() as session:
            secret = issue(session, owner, "test", scopes, **more).secret
            session.commit()
        return self.with_secret(secret)

    def with_secret(self, secret: str) -> httpx.Client:
        client = httpx.Client(base_url=self.live.url, headers={"Authorization": f"Bearer {secret}"}, timeout=30)
        self.clients.append(client)
        return client


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    with running_service(tmp_path_factory.mktemp("keys")) as live:
        keys = Keys(live)
        yield keys
        for client in keys.clients:
            client.close()


def routes(http: httpx.Client) -> list[tuple[str, str]]:
    """Every operation below /v1, with ids that nobody has."""
    document = http.get("/openapi.json").json()
    found = []
    for path, operations in document["paths"].items():
        filled = path.replace("{", "").replace("}", "")
        found += [(method.upper(), filled) for method in operations if path.startswith("/v1")]
    return found


def test_every_route_asks_for_a_key(keys: Keys) -> None:
    asked = routes(keys.live.http)
    assert len(asked) > 30
    for method, path in [*asked, ("GET", "/v1/nothing"), ("POST", "/v1")]:
        answer = keys.live.http.request(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_that_only_reads_has_no_model_run(keys: Keys) -> None:
    chat = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one"}]
    chats = upload_dataset(keys.ann, lines({"messages": chat}))
    prompts = upload_dataset(keys.ann, lines({"prompt": "Count.", "completion": "one"}))
    model, serving = upload_writer(keys.ann), keys.live.service.serving
    answer = keys.reader.get(f"/v1/datasets/{chats}/examples", params={"tokenizer": model})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "'write'" in answer.json()["detail"]
    assert serving.own is not None
    assert serving.own.address is None, "nothing was started for it"
    assert keys.reader.get(f"/v1/datasets/{chats}/examples").status_code == 200
    # Prompts are read within the service, as far as this model's tokenizer can be.
    answer = keys.reader.get(f"/v1/datasets/{prompts}/examples", params={"tokenizer": model})
    assert answer.json()["code"] == "no_tokenizer"


def test_a_wrong_revoked_or_expired_key_is_none(keys: Keys) -> None:
    expired = keys.client("ann", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    revoked = keys.client("ann")
    assert revoked.get("/v1/jobs").status_code == 200
    with keys.live.database.write() as session:
        newest = select(ApiKey.id).order_by(ApiKey.id.desc()).limit(1).scalar_subquery()
        session.execute(update(ApiKey).where(ApiKey.id == newest).values(revoked_at=datetime.now(UTC)))
        session.commit()
    for client in (expired, revoked, keys.with_secret("dk_wrong"), keys.with_secret("dk_")):
        answer = client.get("/v1/jobs")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    for header in ("dk_x", "Basic YTpi", "Bearer", "Bearer a b"):
        assert keys.live.http.get("/v1/jobs", headers={"Authorization": header}).status_code == 401


def test_a_scope_that_is_missing_is_403(keys: Keys) -> None:
    for method, path in routes(keys.live.http):
        lacking = keys.reader if method in ("POST", "DELETE") else keys.writer
        answer = lacking.request(method, path)
        assert answer.status_code == 403, (method, path)
    assert keys.writer.get("/v1/api-keys").status_code == 403


def test_nothing_of_a_body_is_read_without_a_key(keys: Keys) -> None:
    answer = keys.live.http.post("/v1/datasets", content=b"x" * 1000, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 401


def test_another_owners_things_are_not_there(keys: Keys) -> None:
    job_id, model, dataset = submit(keys.ann), upload_model(keys.ann), upload_dataset(keys.ann)
    base = {"teacher": model, "student": model, "dataset": dataset}
    sweep = keys.ann.post("/v1/sweeps", json={"base": base, "grid": {"T": [1, 2]}}).json()["links"]["self"]
    for path in (f"/v1/jobs/{job_id}", f"/v1/models/{model}", f"/v1/datasets/{dataset}", sweep):
        assert keys.ann.get(path).status_code == 200
        assert keys.bob.get(path).status_code == 404
        assert keys.bob.delete(path).status_code == 404
    for part in ("events", "metrics", "logs", "artifacts", "checkpoints", "result", "student.zip", "stream"):
        assert keys.bob.get(f"/v1/jobs/{job_id}/{part}").status_code == 404
    for verb in ("cancel", "retry", "pause", "resume"):
        assert keys.bob.post(f"/v1/jobs/{job_id}/{verb}").status_code == 404
    assert keys.bob.post(f"{sweep}/cancel").status_code == 404
    assert keys.bob.get(f"/v1/datasets/{dataset}/content").status_code == 404
    for kind in ("jobs", "models", "datasets", "sweeps"):
        page = keys.bob.get(f"/v1/{kind}").json()
        assert (page["data"], page["has_more"]) == ([], False)
    assert keys.bob.get(f"/v1/jobs?after={job_id}").status_code == 400
    spec = {"teacher": model, "student": model, "dataset": dataset}
    refused = keys.bob.post("/v1/jobs", json=spec)
    assert {fault["code"] for fault in refused.json()["errors"]} == {"model_not_found", "dataset_not_found"}
    assert keys.ann.post("/v1/jobs?dry_run=true", json=spec).status_code == 200


def test_another_owners_job_is_not_waited_for(keys: Keys) -> None:
    job_id = submit(keys.ann)
    began = time.monotonic()
    assert keys.bob.get(f"/v1/jobs/{job_id}?wait=20").status_code == 404
    assert time.monotonic() - began < 10


def test_names_are_each_owners_own(keys: Keys) -> None:
    upload_model(keys.ann, name="same")
    upload_model(keys.bob, name="same")
    assert keys.ann.get("/v1/models/same").json()["owned_by"] == "ann"


def test_a_key_is_shown_once_and_kept_as_a_digest(keys: Keys) -> None:
    answer = keys.ann.post("/v1/api-keys", json={"name": "ci", "scopes": ["read"]}, headers={"Idempotency-Key": "k1"})
    made = answer.json()
    assert answer.status_code == 201
    assert (made["owner"], made["scopes"]) == ("ann", ["read"])
    assert keys.with_secret(made["secret"]).get("/v1/jobs").status_code == 200
    assert made["secret"] not in keys.ann.get("/v1/api-keys?limit=100").text
    replayed = keys.ann.post("/v1/api-keys", json={"name": "ci", "scopes": ["read"]}, headers={"Idempotency-Key": "k1"})
    assert replayed.json() == {**made, "secret": None}
    database = keys.live.settings.data / "distill.sqlite3"
    stored = b"".join(path.read_bytes() for path in database.parent.glob("distill.sqlite3*"))
    assert made["secret"].encode() not in stored
    for _ in range(2):
        assert keys.ann.delete(f"/v1/api-keys/{made['id']}").status_code == 204
    assert keys.with_secret(made["secret"]).get("/v1/jobs").status_code == 401
    assert keys.ann.delete("/v1/api-keys/key_x").status_code == 404


def test_without_keys_only_this_machine_is_served(http: httpx.Client) -> None:
    assert http.get("/v1/jobs").status_code == 200
    assert http.get("/v1/jobs", headers={"Authorization": "Bearer dk_whatever"}).status_code == 200
    for host in ("localhost:1", "127.0.0.1", "[::1]:80", "127.9.9.9"):
        assert http.get("/v1/jobs", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example:80"):
        answer = http.get("/v1/jobs", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host")
    assert http.get("/v1/jobs", headers={"Origin": "http://localhost:3000"}).status_code == 200
    for origin in ("https://evil.example", "null"):
        assert http.post("/v1/jobs/job_x/cancel", headers={"Origin": origin}).status_code == 421


def test_secrets_are_in_no_answer_of_an_error(keys: Keys) -> None:
    answer = keys.with_secret("dk_topsecret").get("/v1/jobs")
    assert "topsecret" not in answer.text + json.dumps(dict(answer.headers))
