"""Images are taken whole or refused by name, whatever they come in, and stored as a worker reads them."""

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.settings import Settings
from service.datasets.ingest import Ingested, ingest
from service.datasets.pictures import MAX_PIXELS, NotAPicture, Pictures
from service.datasets.zip_records import label_of, part_of
from service.errors import InvalidUpload
from tests.service.pictures import folders, idx, mnist, picture, pixels
from tests.service.samples import zipped

IMAGE_COLUMN = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def understood(folder: Path, content: bytes, filename: str = "x.zip", **changed: Any) -> tuple[Ingested, list[Any]]:
    (folder / "content").write_bytes(content)
    found = ingest(folder / "content", folder / "out.parquet", filename, Settings(**changed))
    return found, pq.read_table(folder / "out.parquet").to_pylist()


def as_parquet(images: Any, **columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"image": images, **columns}), file)
    return file.getvalue()


def described(found: Ingested, name: str) -> dict[str, Any]:
    return next(column for column in found.columns if column["name"] == name)


def test_a_zip_of_folders_is_images_with_labels(tmp_path: Path) -> None:
    found, rows = understood(tmp_path, zipped({**folders(6), "__MACOSX/cat/._1.png": b"x", "dog/.DS_Store": b"x"}))
    assert (found.examples, found.media_type) == (6, "application/zip")
    assert [row["label"] for row in rows] == ["cat", "dog"] * 3
    assert [row["image"] for row in rows] == list(folders(6).values())
    assert rows[0]["file"] == "cat/0.png"
    assert described(found, "label")["values"] == {"cat": 3, "dog": 3}
    image = described(found, "image")
    assert (image["type"], image["nulls"], image["values"]) == ("image", 0, None)
    assert image["images"] == {"widths": (6, 6), "heights": (4, 4), "channels": 3}


def test_folders_may_name_parts(tmp_path: Path) -> None:
    members = {f"pets/{part}/{name}": content for part in ("train", "Test") for name, content in folders(4).items()}
    found, rows = understood(tmp_path, zipped(members))
    assert described(found, "split")["values"] == {"train": 4, "test": 4}
    assert {row["label"] for row in rows} == {"cat", "dog"}


@pytest.mark.parametrize(
    ("name", "label", "part"),
    [
        ("a.png", None, None),
        ("cat/a.png", "cat", None),
        ("pets/cat/a.png", "cat", None),
        ("train/a.png", None, "train"),
        ("pets/VAL/dog/a.png", "dog", "validation"),
    ],
)
def test_a_folder_is_a_label_or_a_part(name: str, label: str | None, part: str | None) -> None:
    assert (label_of(name), part_of(name)) == (label, part)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_in_pairs_are_images_labels_and_parts(tmp_path: Path, packed: bool) -> None:
    found, rows = understood(tmp_path, zipped(mnist(20, 10, packed=packed)))
    assert found.examples == 30
    assert described(found, "split")["values"] == {"train": 20, "test": 10}
    assert described(found, "label")["type"] == "integer"
    assert described(found, "image")["images"] == {"widths": (3, 3), "heights": (2, 2), "channels": 1}
    stored = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]))) for row in rows[:20]])
    assert stored.tobytes() == idx(20)[0][16:]
    assert [row["label"] for row in rows[:20]] == list(idx(20)[1][8:])


@pytest.mark.parametrize("wrap", [list, lambda images: pa.array([{"bytes": one, "path": None} for one in images])])
def test_parquet_with_bytes_alone_or_beside_a_path_is_understood(
    tmp_path: Path, wrap: Callable[[list[bytes]], Any]
) -> None:
    images = [picture("L", seed=place) for place in range(4)]
    found, rows = understood(tmp_path, as_parquet(wrap(images), label=[1, 0, 1, 0]), "x.parquet")
    assert [(row["image"], row["label"]) for row in rows] == list(zip(images, [1, 0, 1, 0], strict=True))
    assert described(found, "image")["images"]["channels"] == 1


def test_an_example_may_lack_its_image(tmp_path: Path) -> None:
    found, rows = understood(tmp_path, as_parquet([picture(), None], label=[1, 0]), "x.parquet")
    assert (described(found, "image")["nulls"], rows[1]["image"]) == (1, None)


def turned() -> bytes:
    """A JPEG as telephones write it: lying, with a note that says how to hold it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("RGB", "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("content", "mode", "size"),
    [
        (picture("L"), "L", (6, 4)),
        (picture("RGB", "JPEG"), "RGB", (6, 4)),
        (picture("RGB", "WEBP"), "RGB", (6, 4)),
        (picture("RGB", "BMP"), "RGB", (6, 4)),
        (picture("RGB", "PPM"), "RGB", (6, 4)),
        (picture("RGBA"), "RGB", (6, 4)),
        (picture("LA"), "L", (6, 4)),
        (picture("1"), "L", (6, 4)),
        (picture("P"), "RGB", (6, 4)),
        (picture("CMYK", "JPEG"), "RGB", (6, 4)),
        (turned(), "RGB", (4, 6)),
    ],
)
def test_every_image_is_stored_upright_and_grey_or_in_colour(
    tmp_path: Path, content: bytes, mode: str, size: tuple[int, int]
) -> None:
    found, rows = understood(tmp_path, zipped({"a/1": content, "b/2": content}))
    stored = Image.open(io.BytesIO(rows[0]["image"]))
    stored.load()
    assert (stored.mode, stored.size) == (mode, size)
    frame = described(found, "image")["images"]
    assert (frame["widths"][0], frame["heights"][0], frame["channels"]) == (*size, 1 if mode == "L" else 3)


def animated() -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(pixels(seed=place), "RGBA").convert("RGB") for place in range(3)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


def sixteen_bits() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(24, dtype=np.uint16).reshape(4, 6)).save(file, "PNG")
    return file.getvalue()


WHOLE, JPEG = picture(size=(40, 40)), picture("RGB", "JPEG", size=(40, 40))
BOMB = picture("1", size=(4200, 4200))
BMP = picture("RGB", "BMP")
WRONG: dict[str, tuple[bytes, str]] = {
    "text": (b"label,text\n", "not_an_image"),
    "nothing": (b"", "not_an_image"),
    "half a PNG": (WHOLE[: len(WHOLE) // 2], "broken_image"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "broken_image"),
    "spoiled": (WHOLE[:60] + bytes(200) + WHOLE[260:], "broken_image"),
    "half a greymap": (b"P5\n9 9\n255\n" + bytes(40), "broken_image"),
    "a bomb": (BOMB, "image_too_large"),
    "a header that lies": (BMP[:18] + (30_000).to_bytes(4, "little") * 2 + BMP[26:], "image_too_large"),
    "a large file": (picture(size=(200, 200)), "image_too_large"),
    "animated": (animated(), "unsupported_image"),
    "16 bits": (sixteen_bits(), "unsupported_image"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_image_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, code = WRONG[name]
    began = time.monotonic()
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path, zipped({**folders(2), "cat/wrong.png": content}), max_line_bytes=100_000)
    (fault,) = refused.value.faults
    assert (fault.code, "'cat/wrong.png'" in fault.detail) == (code, True), fault
    assert fault.hint
    (tmp_path / "parquet").mkdir()
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path / "parquet", as_parquet([picture(), content]), "x.parquet", max_line_bytes=100_000)
    (fault,) = refused.value.faults
    assert (fault.code, fault.line, fault.column) == (code, 2, "image"), fault
    assert time.monotonic() - began < 20


def test_the_first_ten_wrong_images_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path, zipped({f"a/{place}.png": b"x" for place in range(30)}))
    assert [fault.detail.split("'")[1] for fault in refused.value.faults] == [f"a/{place}.png" for place in range(10)]


@settings(max_examples=60)
@given(st.integers(0, len(JPEG) - 1), st.binary(min_size=1, max_size=30), st.sampled_from([WHOLE, JPEG]))
def test_whatever_is_in_a_file_it_is_an_image_or_refused(place: int, noise: bytes, whole: bytes) -> None:
    content = whole[:place] + noise + whole[place + len(noise) :]
    taken, code = None, None
    try:
        taken = Pictures(1 << 20, 1 << 30).take(content)
    except NotAPicture as wrong:
        code = wrong.code
    assert code in {None, "not_an_image", "broken_image", "image_too_large", "unsupported_image"}
    assert taken is None or taken.width * taken.height <= MAX_PIXELS


IMAGES, LABELS = idx(20)
BROKEN_IDX: dict[str, tuple[dict[str, bytes], str, str]] = {
    "cut": ({"x-images-idx3": IMAGES[:-1], "x-labels-idx1": LABELS}, "broken_idx", "ends within image 20"),
    "more": ({"x-images-idx3": IMAGES + b"x", "x-labels-idx1": LABELS}, "broken_idx", "goes on after them"),
    "labels cut": ({"x-images-idx3": IMAGES, "x-labels-idx1": LABELS[:-1]}, "broken_idx", "holds fewer"),
    "labels more": ({"x-images-idx3": IMAGES, "x-labels-idx1": LABELS + b"x"}, "broken_idx", "holds more"),
    "other counts": ({"x-images-idx3": IMAGES, "x-labels-idx1": idx(19)[1]}, "broken_idx", "there are 19 labels"),
    "swapped": ({"x-images-idx3": LABELS, "x-labels-idx1": IMAGES}, "broken_idx", "does not begin with 0x00000801"),
    "floats": ({"x-images-idx3": b"\0\0\x0d\x03" + IMAGES[4:], "x-labels-idx1": LABELS}, "broken_idx", "0x00000803"),
    "alone": ({"x-images-idx3": IMAGES}, "unpaired_idx", "'x-labels-idx1' are not there"),
    "without images": ({"x-labels-idx1": LABELS, **mnist()}, "unpaired_idx", "'x-labels-idx1' have no images"),
    "something else": ({**mnist(), "readme.md": b"x"}, "not_an_image", "'readme.md'"),
    "a lie": (
        {"x-images-idx3": IMAGES[:4] + b"\xff\xff\xff\xff" + IMAGES[8:], "x-labels-idx1": LABELS},
        "too_large_expanded",
        "says",
    ),
}


@pytest.mark.parametrize("name", BROKEN_IDX)
def test_broken_idx_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    members, code, words = BROKEN_IDX[name]
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path, zipped(members))
    assert refused.value.faults[-1].code == code
    assert words in refused.value.faults[-1].detail


def with_link() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        member = zipfile.ZipInfo("a/1.png")
        member.external_attr = 0o120777 << 16
        packed.writestr(member, "/etc/passwd")
    return file.getvalue()


def unusual() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("a/1.png", picture())
    return file.getvalue()


def many() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for place in range(50):
            packed.writestr(f"a/{place}.png", picture())
    return file.getvalue()


ZIPS: dict[str, tuple[bytes, str]] = {
    "a link": (with_link(), "broken_archive"),
    "an unusual packing": (unusual(), "broken_archive"),
    "half a zip": (many()[: len(many()) // 2], "broken_archive"),
    "too much": (zipped({f"a/{place}.png": bytes(90_000) for place in range(30)}), "too_large_expanded"),
    "nothing": (zipped({"a/.DS_Store": b"x"}), "empty"),
    "a table": (zipped({"data.csv": b"a,b\n1,2\n"}), "not_an_image"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_that_cannot_be_taken_is_refused(tmp_path: Path, name: str) -> None:
    content, code = ZIPS[name]
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path, content, max_line_bytes=100_000, max_dataset_expanded_bytes=2_000_000)
    assert refused.value.faults[-1].code == code
    assert refused.value.faults[-1].hint


def test_images_that_unpack_to_too_much_together_are_refused(tmp_path: Path) -> None:
    """Each is small enough, and so are all files; what they decode to is not."""
    black = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(black, "PNG")
    members = {f"a/{place}.png": black.getvalue() for place in range(10)}
    with pytest.raises(InvalidUpload) as refused:
        understood(tmp_path, zipped(members), max_dataset_expanded_bytes=1_000_000)
    assert refused.value.faults[-1].code == "too_large_expanded"


def test_uploaded_images_are_described_and_shown(http: httpx.Client) -> None:
    content = zipped(folders(4))
    answer = http.post("/v1/datasets", files={"file": ("pets.zip", content)})
    made = answer.json()
    assert answer.status_code == 201, answer.text
    column = next(column for column in made["columns"] if column["name"] == "image")
    assert column["images"] == {"widths": [6, 6], "heights": [4, 4], "channels": 3}
    shown = http.get(f"/v1/datasets/{made['id']}/examples?limit=2").json()["data"][0]
    assert (shown["label"], shown["file"]) == ("cat", "cat/0.png")
    assert {name: shown["image"][name] for name in ("media_type", "width", "height")} == {
        "media_type": "image/png",
        "width": 6,
        "height": 4,
    }
    assert shown["image"]["base64"]
    assert http.get(f"/v1/datasets/{made['id']}/content").content == content
