"""Image classifiers: loading them with their image processors, and making one at random from a config."""

from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from core.errors import ModelUnreadable
from worker.training.images import mlp  # noqa: F401 - makes transformers know it
from worker.training.models import Kind, in_words
from worker.training.reading import PROCESSOR_FILE

_PROCESSORS: Any = AutoImageProcessor
"""transformers says no types of it."""
BACKEND = "pil"
"""The implementation that needs no further library, and gives the same bytes on every machine."""


def load_processor(folder: Path, name: str) -> BaseImageProcessor | None:
    """Load the image processor of a folder; None where it has none.

    Raises:
        ModelUnreadable: there is one and it cannot be loaded.
    """
    if not (folder / PROCESSOR_FILE).exists():
        return None
    try:
        loaded: Any = _PROCESSORS.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, backend=BACKEND
        )
    except Exception as error:
        raise ModelUnreadable(name, f"its image processor: {in_words(error)}") from error
    if not isinstance(loaded, BaseImageProcessor):
        raise ModelUnreadable(name, f"a {type(loaded).__name__} is no image processor")
    return loaded


IMAGE_CLASSIFIER = Kind(AutoModelForImageClassification, "image processor", load_processor)


def channels_of(model: PreTrainedModel) -> int:
    """Return 1 for a model of grey images, else 3."""
    return 1 if getattr(model.config, "num_channels", 3) == 1 else 3


def raw_processor(height: int, width: int) -> BaseImageProcessor:
    """Return what reads for a network on raw pixels: bytes over 255, nothing more."""
    return ViTImageProcessorPil(size={"height": height, "width": width}, do_normalize=False)


def plain_processor(config: PretrainedConfig) -> BaseImageProcessor:
    """Return what reads for a model made at random: resized to its size, pixels between -1 and 1."""
    size: Any = getattr(config, "image_size", None) or DEFAULT_SIZE
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    halves = [0.5] * getattr(config, "num_channels", 3)
    return ViTImageProcessorPil(size={"height": height, "width": width}, image_mean=halves, image_std=halves)


DEFAULT_SIZE = 224
"""What most image classifiers read."""
