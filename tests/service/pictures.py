"""Images to upload: single ones in each format, zips of folders, and pairs of IDX files."""

import gzip
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from tests.service.samples import config, safetensors, zipped


def pixels(width: int = 6, height: int = 4, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)


def picture(
    mode: str = "RGB", form: str = "PNG", size: tuple[int, int] = (6, 4), seed: int = 0, **options: Any
) -> bytes:
    """An image of noise, the same for the same seed."""
    file = io.BytesIO()
    Image.fromarray(pixels(*size, seed), "RGBA").convert(mode).save(file, form, **options)
    return file.getvalue()


def folders(count: int = 12, labels: Sequence[str] = ("cat", "dog"), **options: Any) -> dict[str, bytes]:
    """Members of a zip: images in folders named for their labels."""
    return {f"{labels[place % len(labels)]}/{place}.png": picture(seed=place, **options) for place in range(count)}


def idx(
    count: int = 20, width: int = 3, height: int = 2, seed: int = 0, *, packed: bool = False
) -> tuple[bytes, bytes]:
    """Images and labels as IDX files."""
    draw = np.random.default_rng(seed)
    sizes = b"".join(number.to_bytes(4, "big") for number in (count, height, width))
    images = b"\0\0\x08\x03" + sizes + draw.integers(0, 256, count * height * width, dtype=np.uint8).tobytes()
    labels = b"\0\0\x08\x01" + count.to_bytes(4, "big") + bytes(place % 10 for place in range(count))
    return (gzip.compress(images), gzip.compress(labels)) if packed else (images, labels)


def mnist(train: int = 20, test: int = 10, **options: Any) -> dict[str, bytes]:
    """Members of a zip laid out as MNIST is."""
    ending = ".gz" if options.get("packed") else ""
    members = {}
    for part, count in (("train", train), ("t10k", test)):
        images, labels = idx(count, **options)
        members |= {f"{part}-images-idx3-ubyte{ending}": images, f"{part}-labels-idx1-ubyte{ending}": labels}
    return members


def image_model(labels: Sequence[str] | None = ("cat", "dog"), **more: Any) -> dict[str, bytes]:
    """The files of an image classifier, or of a bare body."""
    head = "ViTForImageClassification" if labels else "ViTModel"
    sizes = {"hidden_size": 8, "num_hidden_layers": 4, "intermediate_size": 16, "image_size": 16, "patch_size": 8}
    named = {"id2label": {str(place): name for place, name in enumerate(labels)}} if labels else {}
    written = {**config(None), "model_type": "vit", "architectures": [head], **sizes, **named, **more}
    processor = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 16, "width": 16}}
    return {
        "config.json": json.dumps(written).encode(),
        "model.safetensors": safetensors(),
        "preprocessor_config.json": json.dumps(processor).encode(),
    }


def zipped_folders(count: int = 12, **options: Any) -> bytes:
    return zipped(folders(count, **options))
