"""Downloads: whole, by range, resumed, unchanged, and as one zip. Never other bytes than were stored."""

import hashlib
import io
import zipfile
from pathlib import Path

import httpx
import pytest

from core.ids import make_id
from core.tables import Checkpoint
from tests.service.live import Live
from tests.service.samples import finished, submit

CONTENT = bytes(range(256)) * 10
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILES = {"model.safetensors": CONTENT, "report.html": b"<script>alert(1)</script>", "empty.txt": b""}


@pytest.fixture(scope="module")
def job_id(live: Live, tmp_path_factory: pytest.TempPathFactory) -> str:
    return finished(live, FILES, tmp_path_factory.mktemp("files"), name="Café 1")


@pytest.fixture
def path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/artifacts/model.safetensors"


def test_artifacts_are_listed_with_hash_and_place(http: httpx.Client, job_id: str) -> None:
    page = http.get(f"/v1/jobs/{job_id}/artifacts?limit=2").json()
    assert [artifact["path"] for artifact in page["data"]] == ["empty.txt", "model.safetensors"]
    assert page["has_more"]
    assert page["data"][1]["sha256"] == SHA256
    rest = http.get(f"/v1/jobs/{job_id}/artifacts?after={page['last_id']}").json()
    assert [artifact["path"] for artifact in rest["data"]] == ["report.html"]
    for artifact in [*page["data"], *rest["data"]]:
        assert hashlib.sha256(http.get(artifact["href"]).content).hexdigest() == artifact["sha256"]


def test_a_file_comes_whole_with_its_hash_as_etag(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.content == CONTENT
    assert answer.headers["etag"] == f'"{SHA256}"'
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["accept-ranges"] == "bytes"
    head = http.head(path)
    assert head.content == b""
    kept = ("etag", "content-length", "content-type", "content-disposition")
    assert {name: head.headers[name] for name in kept} == {name: answer.headers[name] for name in kept}


@pytest.mark.parametrize(
    ("wanted", "expected", "content_range"),
    [
        ("bytes=0-0", CONTENT[:1], "bytes 0-0/2560"),
        ("bytes=100-199", CONTENT[100:200], "bytes 100-199/2560"),
        ("bytes=2500-", CONTENT[2500:], "bytes 2500-2559/2560"),
        ("bytes=2500-9999", CONTENT[2500:], "bytes 2500-2559/2560"),
        ("bytes=-10", CONTENT[-10:], "bytes 2550-2559/2560"),
        ("bytes=-9999", CONTENT, "bytes 0-2559/2560"),
    ],
)
def test_a_range_is_what_it_says(
    http: httpx.Client, path: str, wanted: str, expected: bytes, content_range: str
) -> None:
    answer = http.get(path, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["content-range"] == content_range
    assert answer.headers["content-length"] == str(len(expected))


@pytest.mark.parametrize("wanted", ["bytes=2560-", "bytes=-0", "bytes=9999-10000", "bytes=99999999999999999999-"])
def test_a_range_outside_the_file_is_416_with_its_length(http: httpx.Client, path: str, wanted: str) -> None:
    answer = http.get(path, headers={"Range": wanted})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */2560"


@pytest.mark.parametrize("wanted", ["bytes=", "bytes=-", "bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5"])
def test_a_range_that_is_none_or_several_gives_the_whole(http: httpx.Client, path: str, wanted: str) -> None:
    answer = http.get(path, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_a_download_resumes_only_of_the_same_file(http: httpx.Client, path: str) -> None:
    resumed = {"Range": "bytes=1000-", "If-Range": f'"{SHA256}"'}
    assert http.get(path, headers=resumed).content == CONTENT[1000:]
    another = {"Range": "bytes=1000-", "If-Range": '"0000"'}
    answer = http.get(path, headers=another)
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("tag", [f'"{SHA256}"', f'W/"{SHA256}"', f'"x", "{SHA256}"', "*"])
def test_an_unchanged_file_is_not_sent_again(http: httpx.Client, path: str, tag: str) -> None:
    answer = http.get(path, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == f'"{SHA256}"'


def test_a_stored_page_runs_no_script(http: httpx.Client, job_id: str) -> None:
    answer = http.get(f"/v1/jobs/{job_id}/artifacts/report.html")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("wrong", ["nothing.txt", "..%2f..%2fconfig.json", "%2fetc%2fpasswd", "model.safetensors/"])
def test_only_listed_paths_are_files(http: httpx.Client, job_id: str, wrong: str) -> None:
    answer = http.get(f"/v1/jobs/{job_id}/artifacts/{wrong}")
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


def test_the_student_comes_as_one_zip_of_known_length(http: httpx.Client, job_id: str) -> None:
    answer = http.get(f"/v1/jobs/{job_id}/student.zip")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "filename*=UTF-8''Caf%C3%A9%201.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == FILES
    assert http.head(f"/v1/jobs/{job_id}/student.zip").headers["content-length"] == str(len(answer.content))


def test_there_is_no_student_before_the_job_is_finished(http: httpx.Client) -> None:
    job_id = submit(http)
    assert http.get(f"/v1/jobs/{job_id}/student.zip").json()["code"] == "model_not_found"
    assert http.get(f"/v1/jobs/{job_id}/artifacts").json()["data"] == []


def test_checkpoints_are_listed_and_come_as_zips(live: Live, tmp_path: Path) -> None:
    job_id = submit(live.http)
    ids = [_checkpoint(live, job_id, step, tmp_path) for step in (10, 20)]
    page = live.http.get(f"/v1/jobs/{job_id}/checkpoints").json()
    assert [checkpoint["id"] for checkpoint in page["data"]] == ids[::-1]
    assert page["data"][0]["step"] == 20
    answer = live.http.get(page["data"][0]["href"])
    assert answer.headers["content-length"] == str(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.read("trainer_state.json") == b"step 20"
    assert live.http.get(f"/v1/jobs/{job_id}/checkpoints/ckpt_x/checkpoint.zip").status_code == 404


def _checkpoint(live: Live, job_id: str, step: int, folder: Path) -> str:
    checkpoint_id, name = make_id("ckpt"), "trainer_state.json"
    (folder / name).write_text(f"step {step}")
    stored = live.service.blobs.put(f"jobs/{job_id}/checkpoints/{checkpoint_id}/{name}", folder / name)
    files = [{"path": name, "bytes": stored.bytes, "sha256": stored.sha256}]
    row = Checkpoint(
        id=checkpoint_id, job_id=job_id, phase="student", step=step, attempt=1, bytes=stored.bytes, files=files
    )
    with live.database.write() as session:
        session.add(row)
        session.commit()
    return checkpoint_id


def _blob_of(live: Live, job_id: str) -> Path:
    folder = live.settings.data / "blobs" / "models" / job_id.replace("job_", "model_", 1) / "1"
    return folder / "model.safetensors"


def test_a_stored_file_that_is_gone_or_cut_is_named_and_not_sent(live: Live, tmp_path: Path) -> None:
    for spoil, code in ((Path.unlink, "blob_missing"), (lambda blob: blob.write_bytes(b"cut"), "blob_damaged")):
        job_id = finished(live, {"model.safetensors": CONTENT}, tmp_path)
        spoil(_blob_of(live, job_id))
        for path in ("artifacts/model.safetensors", "student.zip"):
            answer = live.http.get(f"/v1/jobs/{job_id}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (500, code)


def test_a_stored_file_that_was_changed_never_arrives_whole(live: Live, tmp_path: Path) -> None:
    job_id = finished(live, {"model.safetensors": CONTENT}, tmp_path)
    _blob_of(live, job_id).write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(httpx.RemoteProtocolError):
        live.http.get(f"/v1/jobs/{job_id}/artifacts/model.safetensors")
