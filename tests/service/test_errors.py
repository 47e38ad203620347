"""One error body for everything, that says where and what to do."""

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.live import Live
from tests.service.samples import spec, submit
from tests.small_disk import run_on_small_disk

FIELDS = {"type", "title", "status", "detail", "instance", "code", "request_id", "hint", "errors", "error"}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == FIELDS
    assert (body["code"], body["status"]) == (code, status)
    assert body["type"] == f"/docs/problems#{code}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["error"]["code"] == code
    assert body["hint"]
    return body


def test_what_is_not_there_or_not_allowed_there_is_a_problem(http: httpx.Client) -> None:
    refused(http.get("/v1/nothing"), 404, "route_not_found")
    refused(http.get("/nothing"), 404, "route_not_found")
    refused(http.get("/v1/jobs/job_x"), 404, "job_not_found")
    refused(http.get("/v1/datasets/ds_x"), 404, "dataset_not_found")
    refused(http.get("/v1/models/x"), 404, "model_not_found")
    wrong = http.patch("/v1/jobs")
    refused(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"]


def test_every_answer_has_a_request_id_of_its_own(http: httpx.Client) -> None:
    ids = {http.get(path).headers["x-request-id"] for path in ("/healthz", "/v1/jobs", "/nothing", "/docs")}
    assert len(ids) == 4
    forged = http.get("/healthz", headers={"X-Request-Id": "mine"}).headers["x-request-id"]
    assert forged.startswith("req_")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1} x',
        b'{"T": NaN}',
        b'{"T": Infinity}',
        b'{"T": 1, "T": 2}',
        b'{"teacher": {"model": "a", "model": "b"}}',
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b"[" * 40 + b"]" * 40,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_broken_body_is_400(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    if body:
        refused(answer, 400, "broken_json")
    else:
        refused(answer, 422, "missing_field")


def test_a_body_of_another_kind_is_415(http: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        refused(http.post("/v1/jobs", content=b"{}", headers={"Content-Type": kind}), 415, "unsupported_media_type")


def test_a_body_that_is_too_large_is_413_at_once(http: httpx.Client) -> None:
    body = json.dumps({"name": "x" * 5_000_000}).encode()
    refused(http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}), 413, "body_too_large")
    pieces = (b"x" * 100_000 for _ in range(50))
    refused(http.post("/v1/jobs", content=pieces, headers={"Content-Type": "application/json"}), 413, "body_too_large")


PLAIN = {"teacher": "t", "student": "s", "dataset": "ds_1"}
BLACK_BOX = {"base_url": "http://x", "model": "y"}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": 2}, "/temperature", "unknown_field"),
    ({"teacher": {"model": "t", "wieght": 1}}, "/teacher/wieght", "unknown_field"),
    ({"teacher": {"model": "../x"}}, "/teacher/model", "invalid_value"),
    ({"teacher": [{"model": "a"}, {"model": "b", "weight": 0}]}, "/teacher/1/weight", "invalid_value"),
    ({"teacher": {}}, "/teacher/model", "missing_field"),
    ({"teacher": []}, "/teacher", "invalid_value"),
    ({"teacher": {"endpoint": {"base_url": "http://x"}}}, "/teacher/endpoint/model", "missing_field"),
    ({"teacher": {"endpoint": {"base_url": "x", "model": "y"}}}, "/teacher/endpoint/base_url", "invalid_base_url"),
    ({"teacher": {"endpoint": BLACK_BOX, "finetune": {}}}, "/teacher/finetune", "unknown_field"),
    ({"teacher": {"endpoint": BLACK_BOX}}, "/method/type", "black_box_teacher"),
    ({"student": {}}, "/student", "student_source"),
    ({"student": {"model": "a", "config": {"model_type": "bert"}}}, "/student", "student_source"),
    ({"student": {"from_teacher": {"layers": [-1]}}}, "/student/from_teacher/layers/0", "invalid_value"),
    ({"student": {"model": "s", "trainable": 7}}, "/student/trainable", "invalid_value"),
    ({"T": 0}, "/T", "invalid_value"),
    ({"T": "2"}, "/T", "invalid_value"),
    ({"T": 1e308}, "/T", "invalid_value"),
    ({"alpha": 1.5}, "/alpha", "invalid_value"),
    ({"alpha": -0.1}, "/alpha", "invalid_value"),
    ({"training": {"epochs": 1e9}}, "/training/epochs", "invalid_value"),
    ({"training": {"batch_size": 1.5}}, "/training/batch_size", "invalid_value"),
    ({"method": {"alignment": "uld", "top_k": 8}}, "/method/top_k", "wrong_for_method"),
    ({"method": {"alignment": "uld", "divergence": "jsd"}}, "/method/divergence", "wrong_for_method"),
    ({"method": {"alignment": "uld", "hidden": {}}}, "/method/hidden", "wrong_for_method"),
    ({"method": {"alignment": "uld"}, "teacher": ["a", "b"]}, "/teacher", "wrong_for_method"),
    ({"method": {"alignment": "uld"}, "task": "text-classification"}, "/method/alignment", "wrong_for_task"),
    ({"method": {"alignment": "gold"}}, "/method/alignment", "invalid_value"),
    ({"method": {"type": "logits", "beta": 0.5}}, "/method", "beta_without_jsd"),
    ({"method": {"divergence": "cosine"}}, "/method/divergence", "invalid_value"),
    ({"output": {"formats": ["gguf"]}}, "/output", "not_available"),
    (
        {"resources": {"processes": 2}, "training": {"augment": {"jitter_pixels": 1}}},
        "/resources/processes",
        "not_available",
    ),
    ({"resources": {"processes": 3}}, "/resources/processes", "uneven_shares"),
    ({"resources": {"sharded": True}}, "/resources/sharded", "not_available"),
    (
        {"resources": {"processes": 2, "sharded": True}, "student": {"model": "s", "lora": {}}},
        "/resources/sharded",
        "not_available",
    ),
    ({"resources": {"processes": 65}}, "/resources/processes", "invalid_value"),
    ({"teacher": None}, "/teacher", "teacher_missing"),
    ({"student": {"config": {"architecture": "mlp", "hidden": [0]}}}, "/student/config/hidden/0", "invalid_value"),
    (
        {"task": "text-classification", "student": {"config": {"architecture": "mlp", "hidden": [8]}}},
        "/student/config/architecture",
        "wrong_for_task",
    ),
    ({"notify": ["http://x"]}, "/notify", "not_available"),
    ({"labels": {"a b": "c"}}, "/labels/a b", "invalid_value"),
    ({"name": "a\0b"}, "/name", "invalid_value"),
    ({"name": "\ud83d"}, "/name", "invalid_value"),
    ({"dataset": {"id": "ds_1", "validation": 0.5, "test": 0.5}}, "/dataset", "invalid_split"),
]


@pytest.mark.parametrize(("change", "pointer", "code"), WRONG)
def test_a_fault_is_pointed_at(http: httpx.Client, change: dict[str, Any], pointer: str, code: str) -> None:
    body = json.dumps({**PLAIN, **change}).encode()
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    faults = answer.json()["errors"]
    assert (pointer, code) in [(fault["pointer"], fault["code"]) for fault in faults], faults
    assert all(fault["hint"] for fault in faults)


REFERENCES = [
    "/etc/passwd",
    "..",
    "a/b/c",
    "file:///etc/passwd",
    "http://169.254.169.254/x",
    "a" * 10_000,
    "\uff41",
    "a\\b",
    "",
]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("field", ["teacher", "student", "dataset"])
def test_a_reference_is_never_a_path_or_an_address(http: httpx.Client, field: str, reference: str) -> None:
    answer = http.post("/v1/jobs", json={**PLAIN, field: reference})
    assert answer.status_code == 422
    assert any(fault["pointer"].startswith(f"/{field}") for fault in answer.json()["errors"])


def test_a_misspelt_field_is_answered_with_the_right_one(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", json={**PLAIN, "training": {"learning_rat": 1}})
    assert "did you mean 'learning_rate'?" in answer.json()["detail"]


def test_a_field_that_may_be_this_or_that_has_one_fault_that_says_both(http: httpx.Client) -> None:
    (fault,) = http.post("/v1/jobs", json={**PLAIN, "training": {"batch_size": "32"}}).json()["errors"]
    assert fault["pointer"] == "/training/batch_size"
    assert fault["detail"] == "Input should be a valid integer, or input should be 'auto'"


def test_all_faults_come_at_once(http: httpx.Client) -> None:
    body = {**PLAIN, "T": 0, "alpha": 2, "colour": "red"}
    pointers = {fault["pointer"] for fault in http.post("/v1/jobs", json=body).json()["errors"]}
    assert pointers == {"/T", "/alpha", "/colour"}


def test_odd_addresses_are_refused_and_others_served(http: httpx.Client) -> None:
    refused(http.get("/v1/jobs/job_%00"), 400, "broken_request")
    refused(http.get("/v1/jobs?q=%00"), 400, "broken_request")
    assert http.get("/v1/jobs?q=%ff%fe").status_code == 200
    refused(http.get("/v1/jobs/%ff"), 404, "job_not_found")


def test_a_missing_blob_is_an_error_that_names_it(live: Live) -> None:
    job = live.http.post("/v1/jobs", json=spec(live.http)).json()
    dataset_id = job["spec"]["dataset"]["id"]
    live.service.blobs.delete(f"datasets/{dataset_id}/content")
    refused(live.http.get(f"/v1/datasets/{dataset_id}/content"), 500, "blob_missing")


def test_unreadable_requests_do_not_stop_the_service(live: Live) -> None:
    port = live.server.port
    odd = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    ]
    for request in odd:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            try:
                connection.sendall(request)
                connection.recv(1000)
            except ConnectionError:
                continue
    assert live.http.get("/healthz").status_code == 200
    assert submit(live.http)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-12:00", "10000-01-01T00:00:00Z", "0000-01-01"]
)
def test_a_moment_that_no_clock_shows_is_refused(http: httpx.Client, moment: str) -> None:
    for name in ("created_after", "created_before"):
        refused(http.get("/v1/jobs", params={name: moment}), 422, "invalid_value")
    refused(http.post("/v1/api-keys", json={"name": "x", "expires_at": moment}), 422, "invalid_value")


@pytest.mark.parametrize("zone", ["<+12>-12", "<-12>+12"])
def test_a_moment_without_a_zone_is_in_utc(http: httpx.Client, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    job_id = submit(http)
    made = datetime.fromisoformat(http.get(f"/v1/jobs/{job_id}").json()["created_at"]).astimezone(UTC)
    earlier, later = ((made + timedelta(hours=hours)).replace(tzinfo=None).isoformat() for hours in (-1, 1))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for query, is_found in (
            ({"created_after": earlier}, True),
            ({"created_after": later}, False),
            ({"created_before": later}, True),
            ({"created_before": earlier}, False),
        ):
            found = [job["id"] for job in http.get("/v1/jobs", params={**query, "limit": 100}).json()["data"]]
            assert (job_id in found) == is_found, query
    finally:
        monkeypatch.undo()
        time.tzset()


UPLOAD_TO_A_SMALL_DISK = """
import json, sys
from pathlib import Path
from tests.service.live import running_service
from tests.service.samples import examples, model_files, tarred

said = []
large = {**model_files(), "notes.txt": b"x" * 3_000_000}
with running_service(Path(sys.argv[1])) as live:
    for path, content in (
        ("datasets", examples(12_000)),
        ("datasets", examples(80_000)),
        ("models", tarred(large)),
        ("models", tarred(large, "w")),
    ):
        answer = live.http.post(f"/v1/{path}", files={"file": ("x", content)}, data={"name": "x"})
        said.append([answer.status_code, answer.json()["code"], len(content) > 1 << 20])
        assert not list(live.settings.work.iterdir())
Path(sys.argv[2]).write_text(json.dumps(said))
"""


def test_a_full_work_folder_is_507_wherever_it_is_met(tmp_path: Path) -> None:
    data, said = tmp_path / "data", tmp_path / "said"
    run_on_small_disk(data / "work", "512k", UPLOAD_TO_A_SMALL_DISK, data, said)
    # What is larger than a megabyte fills the disk while it comes in, the rest when it is unpacked.
    assert json.loads(said.read_text()) == [[507, "disk_full", is_large] for is_large in (False, True, False, True)]
