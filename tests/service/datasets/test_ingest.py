"""Uploaded data sets: taken as they are, or refused with the place of each fault."""

import codecs
import csv
import datetime
import gzip
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from core.settings import Settings
from service.datasets.ingest import ingest
from service.errors import InvalidUpload
from tests.service.live import Live, running_service
from tests.service.samples import examples, submit, upload_dataset
from tests.small_disk import run_on_small_disk

ROWS = [
    {"text": "good, really", "label": 1, "score": 0.5},
    {"text": 'she said "no"\nand left', "label": 0, "score": 2.0},
]


def as_csv(delimiter: str = ",") -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue().encode()


def as_parquet(table: dict[str, Any] | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    whole = pa.table(table) if table is not None else pa.Table.from_pylist(ROWS)
    pq.write_table(whole, file, **options)
    return file.getvalue()


JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FORMATS = {
    "plain.jsonl": JSONL,
    "no-last-newline.jsonl": JSONL.rstrip(),
    "windows.jsonl": JSONL.replace(b"\n", b"\r\n"),
    "marked.jsonl": codecs.BOM_UTF8 + JSONL,
    "blank-lines.jsonl": JSONL.replace(b"\n", b"\n\n"),
    "array.json": json.dumps(ROWS, indent=2).encode(),
    "marked.json": codecs.BOM_UTF8 + json.dumps(ROWS).encode(),
    "data.json": json.dumps({"data": ROWS}).encode(),
    "data-pretty.json": json.dumps({"data": ROWS}, indent=1).encode(),
    "lines.json": JSONL,
    "comma.csv": as_csv(),
    "marked.csv": codecs.BOM_UTF8 + as_csv(),
    "semicolon.csv": as_csv(";"),
    "tab.tsv": as_csv("\t"),
    "nameless": as_csv(),
    "columns.parquet": as_parquet(),
    "packed.csv.gz": gzip.compress(as_csv()),
    "packed.jsonl.zst": zstandard.compress(JSONL),
    "packed.parquet.gz": gzip.compress(as_parquet()),
}


@pytest.mark.parametrize("filename", FORMATS)
def test_every_format_is_understood_alike(tmp_path: Path, filename: str) -> None:
    found, read = understood(tmp_path, FORMATS[filename], filename)
    assert read == ROWS
    assert [column["type"] for column in found.columns] == ["string", "integer", "number"]
    assert found.columns[1]["values"] == {"1": 1, "0": 1}


def understood(folder: Path, content: bytes, filename: str = "x.jsonl", **settings: Any) -> tuple[Any, list[Any]]:
    (folder / "content").write_bytes(content)
    found = ingest(folder / "content", folder / "out.parquet", filename, Settings(**settings))
    return found, pq.read_table(folder / "out.parquet").to_pylist()


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


GOOD = line(text="fine", label=1)
FAULTS: dict[str, tuple[str, bytes, str, int | None, int | str | None]] = {
    "broken UTF-8": ("x.jsonl", GOOD + b'{"text": "caf\xe9"}\n', "broken_utf8", 2, 14),
    "broken UTF-8 in CSV": ("x.csv", b"text,label\nfine,1\ncaf\xe9,0\n", "broken_utf8", 3, 4),
    "broken UTF-8 in JSON": ("x.json", b'[{"text": "caf\xe9"}]', "broken_utf8", 1, None),
    "UTF-16": ("x.csv", "text,label\nfine,1\n".encode("utf-16"), "utf16", 1, 1),
    "UTF-16 unmarked": ("x.jsonl", GOOD.decode().encode("utf-16-le"), "utf16", 1, 1),
    "NUL": ("x.jsonl", GOOD + b'{"text": "a\x00b"}\n', "nul_character", 2, 12),
    "escaped NUL": ("x.jsonl", GOOD + b'{"text": "a\\u0000b"}\n', "nul_character", 2, "text"),
    "lone surrogate": ("x.jsonl", GOOD + b'{"text": "\\ud83d"}\n', "lone_surrogate", 2, "text"),
    "ragged line": ("x.csv", b"text,label\nfine,1\na,b,c\nfine,2\n", "ragged_line", 3, None),
    "short line": ("x.tsv", b"text\tlabel\nfine\n", "ragged_line", 2, None),
    "unclosed quote": ("x.csv", b'text,label\nfine,1\n"open,2\nfine,3\n', "unclosed_quote", 3, None),
    "text after a quote": ("x.csv", b'text,label\n"a"b,2\n', "broken_csv", 2, None),
    "duplicate column": ("x.csv", b"text,text\na,b\n", "duplicate_column", 1, 2),
    "nameless column": ("x.csv", b"text,\na,b\n", "nameless_column", 1, 2),
    "not an object": ("x.jsonl", GOOD + b"[1, 2]\n", "not_an_object", 2, 1),
    "not an object in JSON": ("x.json", b'[\n{"text": "a"},\n7]', "not_an_object", 3, None),
    "broken JSON": ("x.jsonl", GOOD + b'{"text": fine}\n', "broken_json", 2, 10),
    "cut JSON": ("x.json", b'[{"text": "a"}, {"te', "broken_json", 1, None),
    "more after JSON": ("x.json", b'[{"text": "a"}] x', "broken_json", 1, None),
    "duplicate key": ("x.jsonl", GOOD + b'{"text": "a", "text": "b"}\n', "duplicate_key", 2, None),
    "not a number": ("x.jsonl", b'{"score": NaN}\n', "not_finite", 1, None),
    "infinite": ("x.jsonl", b'{"score": 1e999}\n', "not_finite", 1, "score"),
    "integer beyond 64 bits": ("x.jsonl", line(id=2**64), "number_too_large", 1, "id"),
    "integer of 5000 digits": ("x.jsonl", b'{"id": ' + b"9" * 5000 + b"}\n", "number_too_large", 1, None),
    "mixed types": ("x.jsonl", GOOD + line(text="b", label="one"), "mixed_types", 2, "label"),
    "nested deeply": ("x.jsonl", b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}\n", "too_deep", 1, None),
    "many columns": ("x.csv", b",".join(b"c%d" % n for n in range(1001)) + b"\n", "too_many_columns", 1, None),
    "many keys": ("x.jsonl", line(**{f"c{n}": 1 for n in range(2000)}), "too_many_columns", 1, None),
    "long line": ("x.jsonl", GOOD + line(text="a" * 70_000), "line_too_long", 2, None),
    "long value": ("x.json", b"[" + line(text="a" * 200_000) + b"]", "line_too_long", 1, None),
    "nothing": ("x.jsonl", b"", "empty", None, None),
    "only a header": ("x.csv", b"text,label\n", "empty", None, None),
    "an empty array": ("x.json", b"[]", "empty", None, None),
    "a bomb": ("x.jsonl.gz", gzip.compress(GOOD * 100_000), "too_large_expanded", None, None),
    "half a gzip": ("x.jsonl.gz", gzip.compress(GOOD * 1000)[:-20], "broken_archive", None, None),
    "half a Parquet": ("x.parquet", as_parquet()[:-20], "broken_parquet", None, None),
    "a Parquet bomb": ("x.parquet", as_parquet({"a": ["x" * 60_000] * 100}), "too_large_expanded", None, None),
    "binary in Parquet": ("x.parquet", as_parquet({"a": [b"\xff"]}), "not_an_image", 1, "a"),
    "times in Parquet": ("x.parquet", as_parquet({"a": [datetime.time(1)]}), "unsupported_type", None, "a"),
    "a picture": ("x.png", b"\x89PNG\r\n\x1a\n\x00\x01\x02\x03\x04\x05\x06\x07", "unknown_format", None, None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    filename, content, code, number, column = FAULTS[name]
    began = time.monotonic()
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path, content, filename, max_line_bytes=65_536, max_dataset_expanded_bytes=2_000_000)
    fault = refused.value.faults[-1]
    assert (fault.code, fault.line, fault.column) == (code, number, column), fault
    assert fault.hint
    assert time.monotonic() - began < 20


def test_the_first_ten_faults_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path, GOOD + b"nonsense\n" * 30)
    assert [fault.line for fault in refused.value.faults] == list(range(2, 12))


def test_csv_cells_become_what_all_of_a_column_are(tmp_path: Path) -> None:
    content = b"a,b,c,d,e,f,g\n1,1,true,007,,nan,=1+1\n-2,1.5,False,8,,1,x\n,,,,,,\n"
    found, read = understood(tmp_path, content, "x.csv")
    types = {column["name"]: column["type"] for column in found.columns}
    assert types == {
        "a": "integer",
        "b": "number",
        "c": "boolean",
        "d": "string",
        "e": "string",
        "f": "string",
        "g": "string",
    }
    assert read[0] == {"a": 1, "b": 1.0, "c": True, "d": "007", "e": None, "f": "nan", "g": "=1+1"}
    assert set(read[2].values()) == {None}
    assert next(column for column in found.columns if column["name"] == "c")["values"] == {"True": 1, "False": 1}


def test_nested_values_are_kept_as_json(tmp_path: Path) -> None:
    found, read = understood(tmp_path, line(text="a", tags=["x", "ü"]) + line(text="b", tags={"k": 1}) + line(text="c"))
    assert found.columns[1]["type"] == "json"
    assert [row["tags"] for row in read] == ['["x", "ü"]', '{"k": 1}', None]
    assert found.columns[1]["nulls"] == 1


def test_values_are_counted_only_where_they_are_few(tmp_path: Path) -> None:
    content = b"".join(line(id=n, label="a" if n % 3 else "b", grade=float(n % 2)) for n in range(1500))
    found, _ = understood(tmp_path, content)
    values = {column["name"]: column["values"] for column in found.columns}
    assert values == {"id": None, "label": {"a": 1000, "b": 500}, "grade": {"0": 750, "1": 750}}


def test_a_data_frame_with_gaps_has_nulls(tmp_path: Path) -> None:
    content = as_parquet({"text": ["a", "b"], "label": [1.0, float("nan")]})
    found, read = understood(tmp_path, content, "x.parquet")
    assert read[1]["label"] is None
    assert found.columns[1]["values"] == {"1": 1}


STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
CELLS = st.dictionaries(st.sampled_from(["a", "b", "c"]), STORABLE | st.none(), min_size=1)


@given(st.lists(CELLS, min_size=1, max_size=20))
def test_any_text_comes_back_from_json_lines_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    _, read = understood(tmp_path_factory.mktemp("any"), content)
    for wrote, got in zip(rows, read, strict=True):
        assert {name: value for name, value in got.items() if value is not None} == {
            name: value for name, value in wrote.items() if value is not None
        }


@given(st.lists(st.tuples(STORABLE, STORABLE), min_size=1, max_size=20))
def test_any_text_comes_back_from_csv_as_it_was(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    # A last word in each column keeps both columns text.
    writer.writerows([("a", "b"), *rows, ("word", "word")])
    _, read = understood(tmp_path_factory.mktemp("any"), file.getvalue().encode(), "x.csv")
    assert [(row["a"] or "", row["b"] or "") for row in read[:-1]] == rows


# Over HTTP


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running_service(tmp_path_factory.mktemp("small"), max_dataset_bytes=100_000) as live:
        yield live


def test_an_uploaded_data_set_is_described_listed_shown_and_given_back(small: Live) -> None:
    http, content = small.http, examples(50)
    answer = http.post("/v1/datasets", files={"file": ("../../films.jsonl", content)}, data={"name": "films"})
    made = answer.json()
    assert answer.status_code == 201
    assert (made["name"], made["filename"], made["examples"]) == ("films", "films.jsonl", 50)
    assert answer.headers["location"] == f"/v1/datasets/{made['id']}"
    assert http.get(f"/v1/datasets/{made['id']}").json() == made
    assert made in http.get("/v1/datasets?limit=100").json()["data"]
    assert http.get(f"/v1/datasets/{made['id']}/content").content == content
    page = http.get(f"/v1/datasets/{made['id']}/examples?limit=3&offset=48").json()
    assert [row["text"] for row in page["data"]] == ["film number 48 was fine", "film number 49 was fine"]
    assert (page["total"], page["has_more"]) == (50, False)
    assert http.delete(f"/v1/datasets/{made['id']}").status_code == 204
    assert http.get(f"/v1/datasets/{made['id']}").status_code == 404
    assert list(small.service.blobs.list_below(f"datasets/{made['id']}")) == []


def test_a_refusal_names_lines_and_leaves_nothing(small: Live) -> None:
    answer = small.http.post("/v1/datasets", files={"file": ("x.csv", b"a,b\n1,2,3\n1,2\n1\n")})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "ragged_line")
    assert [(fault["line"], fault["pointer"]) for fault in body["errors"]] == [(2, "/file"), (4, "/file")]
    assert list(small.settings.work.glob("upload-*")) == []
    assert list(small.service.blobs.list_below("datasets")) == []


def test_too_large_an_upload_is_refused_announced_or_not(small: Live) -> None:
    files = {"file": ("x.jsonl", GOOD * 10_000)}
    announced = small.http.post("/v1/datasets", files=files)
    assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")

    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 10_000

    unannounced = small.http.post(
        "/v1/datasets", content=pieces(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert (unannounced.status_code, unannounced.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("files", "data", "pointer"),
    [
        ({"other": ("x", b"a")}, {}, "/file"),
        ({"file": ("x.jsonl", GOOD)}, {"name": "n" * 201}, "/name"),
        ({"file": ("x.jsonl", GOOD)}, {"colour": "red"}, "/colour"),
    ],
)
def test_a_wrong_form_is_refused_by_field(small: Live, files: Any, data: Any, pointer: str) -> None:
    answer = small.http.post("/v1/datasets", files=files, data=data)
    assert answer.status_code == 422
    assert pointer in [fault["pointer"] for fault in answer.json()["errors"]]


def test_a_body_that_is_no_form_is_415_and_a_broken_form_400(small: Live) -> None:
    assert small.http.post("/v1/datasets", json={}).status_code == 415
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    assert small.http.post("/v1/datasets", content=b"nonsense", headers=broken).status_code == 400


def test_many_uploads_at_once_leave_room_for_those_who_look(small: Live) -> None:
    content = examples(800)
    looks = 0

    def upload(_: int) -> int:
        return small.http.post("/v1/datasets", files={"file": ("x.jsonl", content)}).status_code

    with ThreadPoolExecutor(60) as pool:
        answers = [pool.submit(upload, number) for number in range(60)]
        while not all(answer.done() for answer in answers):
            assert small.http.get("/v1/models").status_code == 200
            looks += 1
    assert {answer.result() for answer in answers} == {201}
    assert looks >= 4, "who looks waits for uploads"


def test_spoiled_examples_are_named_and_not_shown(small: Live) -> None:
    dataset_id = upload_dataset(small.http)
    stored = small.settings.data / "blobs" / "datasets" / dataset_id / "examples.parquet"
    stored.write_bytes(b"x" * stored.stat().st_size)
    answer = small.http.get(f"/v1/datasets/{dataset_id}/examples")
    assert (answer.status_code, answer.json()["code"]) == (500, "blob_damaged")


def test_a_data_set_that_a_job_waits_for_stays(http: httpx.Client) -> None:
    job_id = submit(http)
    dataset_id = http.get(f"/v1/jobs/{job_id}").json()["spec"]["dataset"]["id"]
    answer = http.delete(f"/v1/datasets/{dataset_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_in_use")


UPLOAD_WHAT_FITS_HALF = """
import base64, json, random, sys
from pathlib import Path
from tests.service.live import running_service

noise = random.Random(0)
lines = [json.dumps({"text": base64.b64encode(noise.randbytes(600)).decode()}) for _ in range(1000)]
with running_service(Path(sys.argv[1])) as live:
    answer = live.http.post("/v1/datasets", files={"file": ("x.jsonl", "\\n".join(lines).encode())})
    left = list(live.service.blobs.list_below(""))
Path(sys.argv[2]).write_text(json.dumps([answer.status_code, answer.json()["code"], left]))
"""


def test_an_upload_that_finds_no_room_for_its_examples_leaves_nothing(tmp_path: Path) -> None:
    data, said = tmp_path / "data", tmp_path / "said"
    run_on_small_disk(data / "blobs", "1m", UPLOAD_WHAT_FITS_HALF, data, said)
    assert json.loads(said.read_text()) == [507, "disk_full", []]
