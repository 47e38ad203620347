"""Images are read as their model's own processor reads them, once, and scaled batch by batch."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from transformers import BitImageProcessorPil, ViTImageProcessorPil

from core.errors import DatasetUnusable
from core.spec import DatasetSpec
from tests.worker.training.conftest import write_parquet
from tests.worker.training.images.conftest import grey
from worker.training.data import Examples, read
from worker.training.images.pixels import UnfitProcessor, frame_of, images_of, look

SIZE = {"height": 12, "width": 10}


def png(mode: str, size: tuple[int, int], seed: int = 0) -> bytes:
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(file, "PNG")
    return file.getvalue()


def examples_of(folder: Path, images: list[Any]) -> Examples:
    columns = {"image": images, "label": ["a", "b"] * (len(images) // 2)}
    return read(write_parquet(folder / "images.parquet", columns), DatasetSpec(id="ds"), 0, "image")


MIXED = [png(mode, size, place) for place, (mode, size) in enumerate([("RGB", (20, 30)), ("L", (30, 20))] * 6)]
PROCESSORS = {
    "scaled": ViTImageProcessorPil(size=SIZE),
    "as it is": ViTImageProcessorPil(size=SIZE, do_normalize=False, do_rescale=False),
    "of its own": ViTImageProcessorPil(size=SIZE, rescale_factor=1 / 127.5, image_mean=[0.1, 0.2, 0.3]),
    "cropped": BitImageProcessorPil(size={"shortest_edge": 16}, crop_size=SIZE),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_is_read_is_what_the_processor_makes(tmp_path: Path, name: str) -> None:
    processor: Any = PROCESSORS[name]
    examples = examples_of(tmp_path, MIXED)
    pixels = look(examples, processor, 3, tmp_path)
    whole = [processor(image.convert("RGB"), return_tensors="pt")["pixel_values"] for image in images_of(examples)]
    torch.testing.assert_close(pixels.batch(range(len(MIXED)))["pixel_values"], torch.cat(whole).float())
    assert pixels.batch([5, 2])["pixel_values"].equal(pixels.batch(range(12))["pixel_values"][[5, 2]])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_the_right_size_are_left_as_they_are(tmp_path: Path, mode: str) -> None:
    processor: Any = PROCESSORS["of its own"]
    examples = examples_of(tmp_path, [png(mode, (10, 12), place) for place in range(4)])
    whole = [processor(image.convert("RGB"), return_tensors="pt")["pixel_values"] for image in images_of(examples)]
    pixels = look(examples, processor, 3, tmp_path)
    torch.testing.assert_close(pixels.batch(range(4))["pixel_values"], torch.cat(whole).float())
    assert list(pixels.remarks(np.arange(3), "the student")) == []


def test_a_grey_model_sees_grey_and_that_is_said(tmp_path: Path) -> None:
    pixels = look(examples_of(tmp_path, MIXED), ViTImageProcessorPil(size=SIZE, do_normalize=False), 1, tmp_path)
    values = pixels.batch([0, 1])["pixel_values"]
    assert values.shape == (2, 1, 12, 10)
    assert 0 <= values.min() < values.max() <= 1
    assert list(pixels.remarks(np.arange(3), "the student")) == [
        "Images are turned grey for the student.",
        "Images are resized to 10 x 12 pixels for the student.",
    ]


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (BitImageProcessorPil(size={"shortest_edge": 16}, do_center_crop=False), "it makes images of"),
        (ViTImageProcessorPil(size=SIZE, image_mean=[0.5, 0.5], image_std=[0.5, 0.5]), "it normalises 2 channels"),
    ],
)
def test_a_processor_that_cannot_be_split_is_refused(tmp_path: Path, processor: Any, words: str) -> None:
    with pytest.raises(UnfitProcessor, match=words):
        look(examples_of(tmp_path, MIXED), processor, 3, tmp_path)


def test_images_of_a_hub_are_structs(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": content, "path": None} for content in MIXED], kind)
    assert [image.size for image in images_of(examples_of(tmp_path, images))] == [(20, 30), (30, 20)] * 6


def test_the_frame_is_grey_only_where_every_image_is(tmp_path: Path) -> None:
    greys = [grey(np.zeros((3, 4)))] * 10
    frame = frame_of(examples_of(tmp_path, greys))
    assert (frame.height, frame.width, frame.channels) == (3, 4, 1)
    assert frame_of(examples_of(tmp_path, [*greys, png("RGB", (4, 3)), greys[0]])).channels == 3


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (MIXED, "images of one size, and these are 20 x 30 and 30 x 20 pixels"),
        ([grey(np.zeros((3, 4)))] * 11 + [b"no image"], "of example 12 holds no image"),
        (["text"] * 12, "a column of string holds no images"),
    ],
)
def test_what_an_mlp_cannot_read_is_said_in_words(tmp_path: Path, images: list[Any], words: str) -> None:
    with pytest.raises(DatasetUnusable, match=words):
        frame_of(examples_of(tmp_path, images))
