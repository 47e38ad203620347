import io
import json
import tarfile
from pathlib import Path

import pytest

from distill_client import Client
from distill_client.upload import CountedFile, packed
from tests.distill_client.scripted import Answer, Scripted

DATASET = json.dumps({"id": "ds_1", "name": "a", "bytes": 3, "examples": 1}).encode()
MODEL = json.dumps({"id": "model_1", "name": "m"}).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "1_Pooling").mkdir(parents=True)
    (made / ".git").mkdir()
    (made / ".git" / "HEAD").write_text("ref")
    (made / ".gitattributes").write_text("*")
    (made / "config.json").write_text("{}")
    (made / "1_Pooling" / "config.json").write_text("[]")
    return made


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {one.name: file.read() for one in tar if (file := tar.extractfile(one)) is not None}


def test_a_folder_is_packed_without_its_hidden_files(folder: Path) -> None:
    with packed(folder) as spool:
        assert members(spool.read()) == {"1_Pooling/config.json": b"[]", "config.json": b"{}"}


def test_the_same_folder_gives_the_same_archive(folder: Path) -> None:
    with packed(folder) as first, packed(folder) as second:
        assert first.read() == second.read()


def test_a_repeated_upload_is_the_same_byte_for_byte(client: Client, scripted: Scripted, folder: Path) -> None:
    scripted.play(Answer(503), Answer(201, MODEL))
    assert client.models.upload(folder, "m").id == "model_1"
    first, second = scripted.asked
    assert first.body == second.body
    assert first.headers == second.headers
    assert b'name="name"\r\n\r\nm\r\n' in first.body


def test_an_upload_says_its_length_and_counts_its_bytes(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"x" * 300_000)
    told: list[tuple[int, int | None]] = []
    scripted.play(Answer(201, DATASET))
    client.datasets.upload(file, "a", lambda done, total: told.append((done, total)))
    assert int(scripted.asked[0].headers["content-length"]) == len(scripted.asked[0].body)
    assert told[-1] == (300_000, 300_000)
    assert len(told) > 1
    assert b'filename="a.jsonl"' in scripted.asked[0].body


def test_a_counted_file_reads_as_the_file_does() -> None:
    counted = CountedFile(io.BytesIO(b"abcdef"), None)
    assert (counted.read(2), counted.tell(), counted.read()) == (b"ab", 2, b"cdef")
    assert counted.total_bytes == 6
