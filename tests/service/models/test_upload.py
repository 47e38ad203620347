"""Uploaded models: taken when they are plain transformers folders, refused by name before anything is loaded."""

import gzip
import hashlib
import io
import json
import stat
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from service.models.archive import unpack
from service.models.faults import ModelRefused
from service.models.folder import check_member, examine
from tests.service.live import Live
from tests.service.pictures import image_model
from tests.service.samples import (
    TENSORS,
    claimed,
    config,
    finished,
    model_files,
    safetensors,
    submit,
    tarred,
    upload_model,
    zipped,
)

PLAIN = model_files()
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "model.zip": lambda: zipped(PLAIN),
    "model.tar": lambda: tarred(PLAIN, "w"),
    "model.tar.gz": lambda: tarred(PLAIN),
    "model.tar.zst": lambda: zstandard.compress(tarred(PLAIN, "w")),
    "folder.zip": lambda: zipped({f"my-model/{name}": content for name, content in PLAIN.items()}),
    "dotted.tar.gz": lambda: tarred({f"./{name}": content for name, content in PLAIN.items()}),
    "guessed.zip": lambda: zipped({f"a/{name}": content for name, content in {**PLAIN, ".unpacked": b"x"}.items()}),
    "alike.zip": lambda: zipped({f"a/{name}": content for name, content in {**PLAIN, "a": b"x"}.items()}),
}


@pytest.mark.parametrize("filename", ARCHIVES)
def test_every_kind_of_archive_gives_the_model(http: httpx.Client, filename: str) -> None:
    name = f"kind-{filename}"
    answer = http.post("/v1/models", files={"file": (filename, ARCHIVES[filename]())}, data={"name": name})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["id"], made["name"], made["source"], made["task"]) == (name, name, "uploaded", "text-classification")
    assert made["labels"] == ["negative", "positive"]
    assert (made["layers"], made["architecture"]) == (4, "BertForSequenceClassification")
    assert (made["parameters"], made["embedding_parameters"]) == (30 * 8 + 64 + 16, 240)
    assert {file["path"] for file in made["files"]} >= set(PLAIN)
    assert http.get(f"/v1/models/{name}").json() == made == http.get(f"/v1/models/{made['model_id']}").json()
    assert made in http.get("/v1/models?limit=100").json()["data"]


def test_what_was_uploaded_can_be_downloaded(http: httpx.Client) -> None:
    name = upload_model(http)
    made = http.get(f"/v1/models/{name}").json()
    for file in made["files"]:
        answer = http.get(f"/v1/models/{name}/files/{file['path']}")
        assert answer.headers["etag"] == f'"{file["sha256"]}"'
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
    rest = http.get(f"/v1/models/{name}/files/config.json", headers={"Range": "bytes=3-"})
    assert rest.status_code == 206
    assert http.head(f"/v1/models/{name}/files/config.json").status_code == 200
    archive = zipfile.ZipFile(io.BytesIO(http.get(f"/v1/models/{name}/model.zip").content))
    assert set(archive.namelist()) == {file["path"] for file in made["files"]}
    gone = http.get(f"/v1/models/{name}/files/nothing.bin")
    assert (gone.status_code, gone.json()["code"]) == (404, "model_file_not_found")


def test_a_bare_encoder_has_neither_task_nor_labels(http: httpx.Client) -> None:
    made = http.get(f"/v1/models/{upload_model(http, labels=None)}").json()
    assert (made["task"], made["labels"]) == (None, None)


def test_labels_stand_in_the_order_of_their_numbers(http: httpx.Client) -> None:
    labels = [f"class {place}" for place in range(12)]
    assert http.get(f"/v1/models/{upload_model(http, labels=labels)}").json()["labels"] == labels


def test_parts_of_weights_are_counted_together(tmp_path: Path) -> None:
    names = list(TENSORS)
    parts = {"a.safetensors": names[:1], "b.safetensors": names[1:]}
    weight_map = {name: part for part, inside in parts.items() for name in inside}
    files = {**PLAIN, "model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode()}
    del files["model.safetensors"]
    for part, inside in parts.items():
        files[part] = safetensors({name: TENSORS[name] for name in inside})
    assert examined(tmp_path, zipped(files)).parameters == 320


def examined(folder: Path, archive: bytes, max_bytes: int = 10_000_000) -> Any:
    target = folder / "model"
    target.mkdir()
    unpack(io.BytesIO(archive), target, max_bytes, check_member)
    return examine(target)


def tar_with(**fields: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        member = tarfile.TarInfo("config.json")
        for name, value in fields.items():
            setattr(member, name, value)
        packed.addfile(member)
    return file.getvalue()


def zip_with(name: str, content: bytes = b"x", mode: int | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        member = zipfile.ZipInfo(name)
        if mode is not None:
            member.external_attr = mode << 16
        packed.writestr(member, content)
    return file.getvalue()


def zip_twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("vocab.txt", b"a")
        packed.writestr("VOCAB.txt", b"b")
    return file.getvalue()


def lying_zip() -> bytes:
    """Says 1 byte of a member that unpacks to more."""
    content = zipped({"vocab.txt": b"0" * 5000})
    place = content.index(b"PK\x01\x02")
    return content[: place + 24] + (1).to_bytes(4, "little") + content[place + 28 :]


def with_config(**more: Any) -> bytes:
    return zipped({**PLAIN, "config.json": json.dumps(config(**more)).encode()})


def with_weights(content: bytes) -> bytes:
    return zipped({**PLAIN, "model.safetensors": content})


def without(name: str, *also: str) -> bytes:
    return zipped({path: content for path, content in PLAIN.items() if path not in (name, *also)})


def lying_weights(**changes: Any) -> bytes:
    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}
    header = json.dumps({"a": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(16)


def header_of(written: bytes) -> bytes:
    return len(written).to_bytes(8, "little") + written


def many_empty_files() -> bytes:
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="w", compresslevel=1) as packed:
        header = tarfile.TarInfo("vocab.txt").tobuf()
        for number in range(20_000):
            packed.write(tarfile.TarInfo(f"{number}.txt").tobuf() if number < 2000 else header)
    return file.getvalue()


def huge_pax_header() -> bytes:
    member = tarfile.TarInfo("pax")
    member.type, member.size = tarfile.XHDTYPE, 100_000_000
    return gzip.compress(member.tobuf() + bytes(100_000_256))


REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a way up": ("unsafe_member", lambda: zip_with("../config.json")),
    "a way up inside": ("unsafe_member", lambda: tarred({"a/../../config.json": b"{}"})),
    "an absolute name": ("unsafe_member", lambda: tarred({"/etc/config.json": b"{}"})),
    "a name that a folder store keeps for itself": ("unsafe_member", lambda: zip_with("weights.bin#1")),
    "a drive": ("unsafe_member", lambda: zip_with("C:/config.json")),
    "a backslash": ("unsafe_member", lambda: zip_with("..\\config.json")),
    "a name longer than a file system takes": ("unsafe_member", lambda: zip_with(f"{chr(0x1F600) * 100}.txt")),
    "a line break in a name": ("unsafe_member", lambda: tarred({"a\nb.txt": b"x"})),
    "a symbolic link": ("unsafe_member", lambda: tar_with(type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a symbolic link in a zip": ("unsafe_member", lambda: zip_with("a.txt", b"/etc", stat.S_IFLNK | 0o777)),
    "a hard link": ("unsafe_member", lambda: tar_with(type=tarfile.LNKTYPE, linkname="vocab.txt")),
    "a device": ("unsafe_member", lambda: tar_with(type=tarfile.CHRTYPE)),
    "a pipe": ("unsafe_member", lambda: tar_with(type=tarfile.FIFOTYPE)),
    "names that differ in case": ("unsafe_member", zip_twice),
    "a bomb": ("too_large_expanded", lambda: zipped({"vocab.txt": b"0" * 20_000_000})),
    "a bomb in a tar": ("too_large_expanded", lambda: tarred({"vocab.txt": b"0" * 20_000_000})),
    "a lying size": ("broken_archive", lying_zip),
    "many empty files": ("too_many_files", many_empty_files),
    "a huge pax header": ("broken_archive", huge_pax_header),
    "half an archive": ("broken_archive", lambda: tarred(PLAIN)[:-200]),
    "no archive": ("unknown_archive", lambda: b"hello" * 100),
    "a pickle": ("pickled_weights", lambda: zipped({**PLAIN, "pytorch_model.bin": b"\x80\x02}q\x00."})),
    "a checkpoint": ("pickled_weights", lambda: zipped({**PLAIN, "x/weights.PT": b"\x80"})),
    "a pickled array": ("pickled_weights", lambda: zipped({**PLAIN, "x.npy": b"\x93NUMPY"})),
    "code": ("remote_code", lambda: zipped({**PLAIN, "tokenizer.py": b"import os"})),
    "a map to code": ("remote_code", lambda: with_config(auto_map={"AutoModel": "x.Y"})),
    "a tokenizer's map to code": (
        "remote_code",
        lambda: zipped({**PLAIN, "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["x.Y", null]}}'}),
    ),
    "an unknown binary": ("unknown_file", lambda: zipped({**PLAIN, "model.onnx": b"\x08\x00\x01"})),
    "a huge config": ("file_too_large", lambda: zipped({**PLAIN, "config.json": b" " * 2_000_000})),
    "a vocabulary of empty lists": (
        "file_too_large",
        lambda: zipped({**PLAIN, "tokenizer.json": b"[" + b"[]," * 2_500_000 + b"[]]"}),
    ),
    "a header of empty lists": ("broken_weights", lambda: with_weights(header_of(b"[" + b"[]," * 2_500_000 + b"[]]"))),
    "a large JSON that is no text": ("unknown_file", lambda: zipped({**PLAIN, "x.json": b"\0" * 2_000_000})),
    "no config": ("no_config", lambda: without("config.json")),
    "a config that is no object": ("broken_config", lambda: zipped({**PLAIN, "config.json": b"[]"})),
    "a config that is no JSON": ("broken_config", lambda: zipped({**PLAIN, "config.json": b"{"})),
    "a deep config": ("broken_config", lambda: zipped({**PLAIN, "config.json": b"[" * 100_000})),
    "a config of 10^12 parameters": ("broken_config", lambda: with_config(hidden_size=1_000_000)),
    "labels that skip a number": ("broken_config", lambda: with_config(id2label={"0": "a", "2": "b"})),
    "no weights": ("no_weights", lambda: without("model.safetensors")),
    "no tokenizer": ("no_tokenizer", lambda: without("tokenizer.json", "vocab.txt")),
    "weights too short": ("broken_weights", lambda: with_weights(safetensors()[:-1])),
    "weights too long": ("broken_weights", lambda: with_weights(safetensors() + b"x")),
    "no header": ("broken_weights", lambda: with_weights(b"abc")),
    "a header longer than the file": ("broken_weights", lambda: with_weights((1 << 40).to_bytes(8, "little") + b"{}")),
    "a header that is no JSON": ("broken_weights", lambda: with_weights((2).to_bytes(8, "little") + b"{]")),
    "an unknown type": ("broken_weights", lambda: with_weights(lying_weights(dtype="PICKLE"))),
    "a lying shape": ("broken_weights", lambda: with_weights(lying_weights(shape=[1 << 40]))),
    "a negative shape": ("broken_weights", lambda: with_weights(lying_weights(shape=[-4]))),
    "offsets outside": ("broken_weights", lambda: with_weights(lying_weights(data_offsets=[16, 32]))),
    "offsets backwards": ("broken_weights", lambda: with_weights(lying_weights(data_offsets=[16, 0]))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_model_is_refused_by_name(tmp_path: Path, name: str) -> None:
    code, make = REFUSED[name]
    archive = make()
    began = time.monotonic()
    with pytest.raises(ModelRefused) as refused:
        examined(tmp_path, archive)
    (fault,) = refused.value.faults
    assert fault.code == code, fault
    assert fault.hint
    assert time.monotonic() - began < 20
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_refused_model_leaves_nothing_and_says_how_to_convert(live: Live) -> None:
    before = list(live.service.blobs.list_below("models"))
    archive = REFUSED["a pickle"][1]()
    answer = live.http.post("/v1/models", files={"file": ("m.zip", archive)}, data={"name": "pickled"})
    assert (answer.status_code, answer.json()["code"]) == (422, "pickled_weights")
    assert "safe_serialization" in answer.json()["errors"][0]["hint"]
    assert list(live.service.blobs.list_below("models")) == before
    assert list(live.settings.work.glob("upload-*")) == []


def test_a_name_is_taken_once(http: httpx.Client) -> None:
    name = upload_model(http)
    again = http.post("/v1/models", files={"file": ("m.zip", zipped(PLAIN))}, data={"name": name})
    assert (again.status_code, again.json()["code"]) == (409, "model_name_taken")
    assert again.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("name", ["../x", "a/b", "job_x", "a b", "x" * 97, "ä", "a..b"])
def test_a_name_that_is_none_is_refused(http: httpx.Client, name: str) -> None:
    answer = http.post("/v1/models", files={"file": ("m.zip", zipped(PLAIN))}, data={"name": name})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/name"


def test_a_model_is_deleted_with_its_files_when_no_job_reads_it(live: Live) -> None:
    http = live.http
    job_id = submit(http)
    claimed(live, job_id)
    teacher = http.get(f"/v1/jobs/{job_id}").json()["spec"]["teacher"]["model"]
    used = http.delete(f"/v1/models/{teacher}")
    assert (used.status_code, used.json()["code"]) == (409, "model_in_use")
    free = upload_model(http)
    model_id = http.get(f"/v1/models/{free}").json()["model_id"]
    assert http.delete(f"/v1/models/{free}").status_code == 204
    assert http.get(f"/v1/models/{free}").json()["code"] == "model_not_found"
    assert list(live.service.blobs.list_below(f"models/{model_id}")) == []


def test_a_distilled_model_shows_its_job_and_takes_its_artifacts_with_it(live: Live, tmp_path: Path) -> None:
    job_id = finished(live, {"config.json": b"{}"}, tmp_path)
    assert live.http.get(f"/v1/models/{job_id}").json()["job"] == job_id
    assert live.http.delete(f"/v1/models/{job_id}").status_code == 204
    assert live.http.get(f"/v1/jobs/{job_id}/artifacts").json()["data"] == []
    assert live.http.get(f"/v1/jobs/{job_id}/student.zip").status_code == 404


def test_an_image_classifier_needs_its_processor_and_no_tokenizer(http: httpx.Client) -> None:
    files = {"file": ("model.zip", zipped(image_model()))}
    made = http.post("/v1/models", files=files, data={"name": "looks"}).json()
    assert (made["task"], made["labels"], made["layers"]) == ("image-classification", ["cat", "dog"], 4)
    files = {"file": ("model.zip", zipped(image_model(labels=None)))}
    made = http.post("/v1/models", files=files, data={"name": "bare-looks"}).json()
    assert (made["task"], made["labels"]) == ("image-classification", None)


@pytest.mark.parametrize(
    ("name", "processor", "code"),
    [
        ("none", None, "no_processor"),
        ("a list", [], "broken_config"),
        ("another size", {"size": {"height": 24, "width": 16}}, "processor_differs"),
        ("another crop", {"do_center_crop": True, "size": 16, "crop_size": 24}, "processor_differs"),
        ("old style", {"size": 24}, "processor_differs"),
        ("code", {"auto_map": {"AutoImageProcessor": "x.Y"}, "size": 16}, "remote_code"),
    ],
)
def test_a_processor_that_does_not_fit_is_refused(tmp_path: Path, name: str, processor: Any, code: str) -> None:
    files = image_model()
    del files["preprocessor_config.json"]
    if processor is not None:
        files["preprocessor_config.json"] = json.dumps(processor).encode()
    with pytest.raises(ModelRefused) as refused:
        examined(tmp_path, zipped(files))
    assert refused.value.faults[0].code == code


@pytest.mark.parametrize("processor", [{"size": 16}, {"do_resize": False, "size": 24}, {"size": {"shortest_edge": 9}}])
def test_a_processor_that_may_fit_is_left_to_the_worker(tmp_path: Path, processor: Any) -> None:
    files = {**image_model(), "preprocessor_config.json": json.dumps(processor).encode()}
    assert examined(tmp_path, zipped(files)).task == "image-classification"


@pytest.mark.parametrize("field", ["id", "model_id"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_goes_on_behind_a_models_name_as_behind_its_id(http: httpx.Client, field: str, order: str) -> None:
    made = [upload_model(http, name=f"{name}-{field}-{order}") for name in ("zz", "mm", "aa")]
    seen: list[str] = []
    query = {"limit": "1", "order": order}
    while page := http.get("/v1/models", params=query).json()["data"]:
        assert page[0]["id"] not in seen
        seen.append(page[0]["id"])
        query["after"] = page[0][field]
    assert [name for name in seen if name in made] == (made if order == "asc" else made[::-1])


def test_large_json_that_no_tokenizer_has_is_not_parsed(tmp_path: Path) -> None:
    nested = b"[" + b"[]," * 1_000_000 + b"[]]"
    archive = zipped({**PLAIN, "trainer_state.json": nested, "notes/log.json": b"[" * 2_000_000})
    tracemalloc.start()
    try:
        assert examined(tmp_path, archive).parameters == 320
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
