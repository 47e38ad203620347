"""Images: what classifies and reads them."""

import json
from pathlib import Path

import torch
from peft import TaskType
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from core.errors import ModelUnreadable
from core.spec import JobSpec
from worker.training.data import Content, Examples
from worker.training.images.models import IMAGE_CLASSIFIER, channels_of
from worker.training.images.pixels import Pixels, UnfitProcessor, look
from worker.training.images.students import build_image_student
from worker.training.memory import is_out_of_memory
from worker.training.models import Kind, Loaded, in_words
from worker.training.reading import Reader
from worker.training.students import Student


class Images:
    content: Content = "image"
    kind: Kind = IMAGE_CLASSIFIER
    adapters: TaskType | None = None

    def student(
        self, spec: JobSpec, folder: Path | None, teacher: Loaded | None, classes: list[str], examples: Examples
    ) -> Student:
        return build_image_student(spec, folder, teacher, classes, examples)

    def identity(self, reader: Reader, model: PreTrainedModel, spec: JobSpec) -> object:
        return json.dumps(_processor(reader).to_dict(), sort_keys=True, default=str), channels_of(model)

    def read(self, examples: Examples, loaded: Loaded, name: str, spec: JobSpec, folder: Path) -> Pixels:
        assert loaded.reader is not None
        try:
            pixels = look(examples, _processor(loaded.reader), channels_of(loaded.model), folder)
        except UnfitProcessor as unfit:
            raise ModelUnreadable(name, f"its image processor does not fit: {unfit}") from unfit
        _check_fit(loaded.model, pixels, name)
        return pixels


def _processor(reader: Reader) -> BaseImageProcessor:
    assert isinstance(reader, BaseImageProcessor), "images are read by image processors alone"
    return reader


@torch.no_grad()
def _check_fit(model: PreTrainedModel, pixels: Pixels, name: str) -> None:
    """Let the model look at one image: what its processor makes may have another size than it reads.

    Raises:
        ModelUnreadable: it cannot.
    """
    was_training = model.training
    model.train(False)
    try:
        model(**{key: values.to(model.device) for key, values in pixels.batch([0]).items()})
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelUnreadable(name, f"it does not read what its image processor makes: {in_words(error)}") from error
    finally:
        model.train(was_training)
