"""From blobs to a model in memory. Nothing is left on the disk: a model that has left memory is fetched again."""

import gc
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from core.blobs import Blobs, Stored
from core.errors import ModelUnreadable, OutOfMemory
from core.serving import ServedModel, ServingOutOfMemory
from serving.gate import Gate
from serving.texts import Decode, decoder
from serving.vocabulary import Vocabulary
from worker.training.device import device
from worker.training.generation.writer import end_ids
from worker.training.language.models import fresh_writer, load_writer
from worker.training.models import Loaded, from_config, load, load_tokenizer, positions_of
from worker.training.students import of_layers

FOLDER_PREFIX = "serving-"

ModelT = TypeVar("ModelT")


@dataclass(frozen=True)
class Writer:
    """A language model that is ready to write."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    end_ids: tuple[int, ...]
    vocabulary: Vocabulary = field(init=False)
    decode: Decode = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", Vocabulary(self.tokenizer))
        object.__setattr__(self, "decode", decoder(self.tokenizer))

    @cached_property
    def context(self) -> int | None:
        """How many tokens the model reads and writes together; None where there is no end."""
        found = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None


@dataclass(frozen=True)
class Classifier:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    classes: tuple[str, ...]
    longest: int | None
    """How many tokens the model reads; None where there is no end."""


@dataclass(frozen=True)
class Reader:
    """A tokenizer without its model."""

    tokenizer: PreTrainedTokenizerBase


def load_as_reader(wanted: ServedModel, folder: Path) -> Reader:
    """Raises ModelUnreadable."""
    tokenizer = load_tokenizer(folder, wanted.name)
    assert tokenizer is not None, "it is required"
    return Reader(tokenizer)


def load_as_writer(wanted: ServedModel, folder: Path) -> Writer:
    """Raises ModelUnreadable."""
    loaded = load_writer(folder, wanted.name, dtype="auto", reads_head=False)
    ends = end_ids(loaded.model, _tokenizer(loaded, wanted))
    model = _of_layers(wanted, loaded, fresh_writer)
    # The folder's own settings for sampling play no part: a request says what it wants.
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    return Writer(_placed(model), _tokenizer(loaded, wanted), ends)


def load_as_classifier(wanted: ServedModel, folder: Path) -> Classifier:
    """Raises ModelUnreadable."""
    loaded = load(folder, wanted.name, seed=0)
    if not loaded.has_head:
        raise ModelUnreadable(wanted.name, "it is an encoder without a classification head")
    model, tokenizer = _of_layers(wanted, loaded, from_config), _tokenizer(loaded, wanted)
    # Decoders with a head find the last token of each text by what pads.
    model.config.pad_token_id = tokenizer.pad_token_id
    limits = [positions_of(model), tokenizer.model_max_length]
    longest = min((limit for limit in limits if limit is not None and limit < 1_000_000), default=None)
    return Classifier(_placed(model), tokenizer, tuple(loaded.classes), longest)


def remove_left_over(work: Path, older_than_seconds: float) -> None:
    """Delete the folders that a killed process left behind while it loaded a model."""
    for folder in work.glob(f"{FOLDER_PREFIX}*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime >= older_than_seconds:
                shutil.rmtree(folder, ignore_errors=True)


def loaded_from(
    blobs: Blobs, work: Path, wanted: ServedModel, load_as: Callable[[ServedModel, Path], ModelT], gate: Gate
) -> ModelT:
    """Fetch the files, each checked by its SHA-256, and make the model of them while nobody else works.

    Raises:
        BlobMissing, BlobDamaged, StorageUnavailable: the files cannot be had.
        ModelUnreadable: they hold no such model.
        ServingOutOfMemory: it does not fit.
    """
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=work) as scratch:
        folder = Path(scratch)
        for file in wanted.files:
            blobs.fetch(Stored(file.blob_key, file.bytes, file.sha256), folder / file.path)
        try:
            with gate.alone():
                return load_as(wanted, folder)
        except OutOfMemory as error:
            raise ServingOutOfMemory(str(error)) from error


def _of_layers(wanted: ServedModel, loaded: Loaded, build_model: Callable[[Any], PreTrainedModel]) -> PreTrainedModel:
    if wanted.layers is None:
        return loaded.model
    model: Any = of_layers(wanted.layers, loaded.model, 0, build_model)
    shortened: PreTrainedModel = model.to(loaded.model.dtype)
    return shortened


def _tokenizer(loaded: Loaded, wanted: ServedModel) -> PreTrainedTokenizerBase:
    if loaded.tokenizer is None:
        raise ModelUnreadable(wanted.name, "its folder has no tokenizer")
    return loaded.tokenizer


def _placed(model: PreTrainedModel) -> PreTrainedModel:
    """On the device, and only to be read."""
    any_model: Any = model
    placed: PreTrainedModel = any_model.to(device()).eval().requires_grad_(False)
    return placed


def give_memory_back() -> None:
    """After a model has left: what it held in circles, and what torch keeps for the next one."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
