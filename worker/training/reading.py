"""Every example as one model reads it: tokens of a text or pixels of an image, and what makes them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor

from worker.training.export_tokenizer import save_tokenizer
from worker.training.split import Rows

Reader = PreTrainedTokenizerBase | BaseImageProcessor
"""What prepares an example for a model, and lies beside it in its folder."""
PROCESSOR_FILE = "preprocessor_config.json"


class Reading(Protocol):
    """Made once for each way of reading; models that read alike share it."""

    @property
    def lengths(self) -> Rows:
        """How long each example is, in tokens; all 1 where all are equally long."""

    @property
    def is_cut(self) -> NDArray[np.bool_]:
        """True where the example was longer than the model reads."""

    @property
    def digest(self) -> str:
        """What tells these examples, as they are read, from all others."""

    def batch(self, rows: Sequence[int] | Rows, /) -> dict[str, Tensor]:
        """Return what a model is called with for these examples, by name."""

    def seen(self, row: int, /) -> bytes:
        """Return what a model is given of an example: equal for examples that it cannot tell apart."""

    def remarks(self, train: Rows, reader: str, /) -> Iterator[str]:
        """Yield what a user should know of how `reader` (such as "the student") sees the training examples."""


def tokenizer_of(reader: Reader) -> PreTrainedTokenizerBase:
    """Return what reads texts, where it does."""
    if not isinstance(reader, PreTrainedTokenizerBase):
        raise TypeError(f"a {type(reader).__name__} reads no texts")
    return reader


def save_reader(reader: Reader, folder: Path) -> None:
    """Save it so that transformers 5 and 4 both read it."""
    if isinstance(reader, PreTrainedTokenizerBase):
        save_tokenizer(reader, folder)
        return
    reader.save_pretrained(folder)
    path = folder / PROCESSOR_FILE
    written = json.loads(path.read_text(encoding="utf-8"))
    # Which of its implementations a version has is its own affair; the name without a suffix is known to both.
    written["image_processor_type"] = str(written["image_processor_type"]).removesuffix("Fast").removesuffix("Pil")
    path.write_text(json.dumps(written, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
