"""Images as a model reads them: decoded and resized once, kept as bytes in a memory-mapped file, scaled batch by batch.

Legend: N images of the data set, B of a batch, C channels, H height, W width.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor

from core.errors import DatasetUnusable
from worker.training.data import Examples
from worker.training.split import Rows

READ_IMAGES, READ_PIXELS = 256, 1 << 24
GREY_MODES = frozenset({"1", "L", "LA"})


@dataclass(frozen=True)
class Pixels:
    """All images, as bytes that `values` turns into what the model is called with."""

    pixels: NDArray[np.uint8]
    """[N, C, H, W]."""
    scale: Tensor
    offset: Tensor
    """Both [C, 1, 1]; the offset is what a black pixel becomes."""
    changes: tuple[str, ...] = ()
    """What the model does not see as it is, in words."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.ones(len(self.pixels), dtype=np.int64)

    @property
    def is_cut(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.pixels), dtype=bool)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[2])

    @property
    def digest(self) -> str:
        """What tells these images, as they are seen, from all others."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        for array in (self.pixels, self.scale.numpy(), self.offset.numpy()):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def batch(self, rows: Sequence[int] | Rows) -> dict[str, Tensor]:
        """Return pixel_values [B, C, H, W], float32."""
        return {"pixel_values": self.values(torch.from_numpy(self.pixels[np.asarray(rows)]))}

    def values(self, pixels_BCHW: Tensor) -> Tensor:
        return pixels_BCHW.float() * self.scale + self.offset

    def seen(self, row: int) -> bytes:
        return bytes(self.pixels[row])

    def remarks(self, train: Rows, reader: str) -> Iterator[str]:
        for change in self.changes:
            yield f"Images are {change} for {reader}."


@dataclass(frozen=True)
class Frame:
    """What the images of a data set have in common."""

    height: int
    width: int
    channels: int


def images_of(examples: Examples) -> Iterator[Image.Image]:
    """Yield the images in order, their headers read and their pixels not yet.

    Raises:
        DatasetUnusable: something is no image.
    """
    number = 0
    for batch in examples.batches([examples.column], READ_IMAGES):
        for content in _contents(batch.column(examples.column)):
            try:
                yield Image.open(io.BytesIO(content))
            except OSError as error:
                row = int(examples.rows[number]) + 1
                raise DatasetUnusable(f"column '{examples.column}' of example {row} holds no image: {error}") from error
            number += 1


def _contents(column: Any) -> list[bytes]:
    """The bytes of images, also of a hub's: {"bytes", "path"}."""
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = column.field("bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise DatasetUnusable(f"a column of {column.type} holds no images")
    return [bytes(content) for content in column.to_pylist() if content is not None]


def frame_of(examples: Examples) -> Frame:
    """Return the one size that all images have; grey only where all of them are.

    Raises:
        DatasetUnusable: their sizes differ.
    """
    sizes, are_grey = set(), True
    for image in images_of(examples):
        sizes.add(image.size)
        are_grey &= image.mode in GREY_MODES
        if len(sizes) > 1:
            (one, other) = sorted(sizes)
            raise DatasetUnusable(
                f"an mlp reads images of one size, and these are {one[0]} x {one[1]} and {other[0]} x {other[1]} pixels"
            )
    width, height = sizes.pop()
    return Frame(height, width, 1 if are_grey else 3)


class UnfitProcessor(Exception):
    """An image processor that does more than resize, crop, scale and normalise, or makes images of many sizes."""


def look(examples: Examples, processor: BaseImageProcessor, channels: int, folder: Path) -> Pixels:
    """Decode and resize every image once into a file under `folder`.

    Raises:
        UnfitProcessor: what the processor does cannot be split into a resizing and a scaling.
        DatasetUnusable: something is no image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape: tuple[int, ...] | None = None
    changes: dict[str, None] = {}
    scale, offset = scaling_of(processor, channels)
    path = folder / "pixels.bin"
    with path.open("wb") as file:
        for images in _some(_in_colours(images_of(examples), channels, changes)):
            for image, pixels_CHW in zip(images, _resized(images, processor), strict=True):
                if shape is None:
                    shape = pixels_CHW.shape
                    _check(processor, image, pixels_CHW, scale, offset)
                if pixels_CHW.shape != shape:
                    raise UnfitProcessor(f"it makes images of {shape} and of {pixels_CHW.shape}")
                if image.size != (shape[2], shape[1]):
                    changes.setdefault(f"resized to {shape[2]} x {shape[1]} pixels")
                file.write(pixels_CHW.tobytes())
    assert shape is not None, "a data set without images was refused before"
    pixels = np.memmap(path, dtype=np.uint8, mode="r", shape=(len(examples), *shape))
    return Pixels(pixels, scale, offset, tuple(changes))


def _in_colours(images: Iterator[Image.Image], channels: int, changes: dict[str, None]) -> Iterator[Image.Image]:
    """Yield the images in the colours that the model reads."""
    for image in images:
        if channels == 1 and image.mode not in GREY_MODES:
            changes.setdefault("turned grey")
        yield image.convert("L" if channels == 1 else "RGB")


def _some(images: Iterator[Image.Image]) -> Iterator[list[Image.Image]]:
    """Yield images together, as many as memory holds well."""
    some: list[Image.Image] = []
    size = 0
    for image in images:
        some.append(image)
        size += image.width * image.height
        if len(some) >= READ_IMAGES or size >= READ_PIXELS:
            yield some
            some, size = [], 0
    if some:
        yield some


def _resized(images: list[Image.Image], processor: BaseImageProcessor) -> list[NDArray[np.uint8]]:
    if all(image.size == _only_size(processor) for image in images):
        return [_channels_first(np.asarray(image)) for image in images]
    made = list(processor(images, do_rescale=False, do_normalize=False)["pixel_values"])
    if len(made) != len(images) or any(_is_no_image(one) for one in made):
        raise UnfitProcessor("it makes something else than one image of bytes")
    return made


def _only_size(processor: BaseImageProcessor) -> tuple[int, int] | None:
    """Width and height, of a processor that changes nothing else: an image of this size it leaves as it is."""
    settings: Any = processor
    others = (getattr(settings, name, None) for name in ("do_center_crop", "do_pad", "crop_pct"))
    is_plain = settings.do_resize and not any(others) and settings.size.height and settings.size.width
    return (settings.size.width, settings.size.height) if is_plain else None


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _is_no_image(made: Any) -> bool:
    return not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.ndim != 3


def scaling_of(processor: BaseImageProcessor, channels: int) -> tuple[Tensor, Tensor]:
    """Return scale and offset [C, 1, 1]: bytes times scale plus offset is what the processor makes of them."""
    settings: Any = processor
    scale = torch.full((channels, 1, 1), float(settings.rescale_factor) if settings.do_rescale else 1.0)
    if not settings.do_normalize:
        return scale, torch.zeros(channels, 1, 1)
    mean, deviation = (_per_channel(values, channels) for values in (settings.image_mean, settings.image_std))
    return scale / deviation, -mean / deviation


def _per_channel(values: Any, channels: int) -> Tensor:
    found = torch.as_tensor(values, dtype=torch.float32).reshape(-1)
    if len(found) not in (1, channels):
        raise UnfitProcessor(f"it normalises {len(found)} channels, the model reads {channels}")
    return found.expand(channels).reshape(channels, 1, 1)


def _check(
    processor: BaseImageProcessor, image: Image.Image, pixels_CHW: NDArray[np.uint8], scale: Tensor, offset: Tensor
) -> None:
    """In two steps or in one, the result must be the same."""
    whole = torch.as_tensor(processor(image, return_tensors="np")["pixel_values"][0], dtype=torch.float32)
    parts = torch.from_numpy(pixels_CHW.astype(np.float32)) * scale + offset
    if whole.shape != parts.shape or not torch.allclose(whole, parts, rtol=1e-3, atol=1e-3):
        raise UnfitProcessor("it does more than resize, crop, scale and normalise")
