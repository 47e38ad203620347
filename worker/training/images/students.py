"""Where a student that looks at images comes from: a folder, layers of the teacher, or a config."""

from pathlib import Path

from transformers import AutoModelForImageClassification, PretrainedConfig, PreTrainedModel, set_seed
from transformers.image_processing_utils import BaseImageProcessor

from core.architectures import MlpSpec
from core.errors import StudentUnusable
from core.spec import JobSpec
from worker.training.data import Examples
from worker.training.images.mlp import PixelMlpConfig
from worker.training.images.models import IMAGE_CLASSIFIER, channels_of, plain_processor, raw_processor
from worker.training.images.pixels import frame_of
from worker.training.models import Loaded, from_config, say_classes
from worker.training.students import Student, check_size, from_folder, of_layers, random_model


def build_image_student(
    spec: JobSpec, folder: Path | None, teacher: Loaded | None, classes: list[str], examples: Examples
) -> Student:
    """Make the student as it is before it learns, the same for the same seed.

    Raises:
        StudentUnusable: the config or the layers make no model.
        ModelUnreadable: the folder does not hold one.
        DatasetUnusable: an mlp is asked for, and the images differ in size.
    """
    wanted, seed = spec.student, spec.training.seed
    if folder is not None:
        loaded = from_folder(folder, wanted.model or "student", classes, seed, IMAGE_CLASSIFIER)
        return Student(loaded.model, loaded.reader or _processor(teacher), loaded.fresh)
    if wanted.from_teacher is not None and teacher is not None:
        model = of_layers(wanted.from_teacher.layers, teacher.model, seed, _image_classifier)
        return Student(model, _processor(teacher), frozenset())
    if isinstance(wanted.config, MlpSpec):
        return _mlp(wanted.config, classes, examples, seed)
    model = random_model(wanted, {}, seed, lambda config: _with_classes(config, classes), "image classifier")
    return Student(model, _reader_for(model, teacher), _every_name(model))


def _mlp(wanted: MlpSpec, classes: list[str], examples: Examples, seed: int) -> Student:
    frame = frame_of(examples)
    config = PixelMlpConfig(
        image_size=[frame.height, frame.width],
        num_channels=frame.channels,
        hidden_sizes=list(wanted.hidden),
        dropout=wanted.dropout,
        input_dropout=wanted.input_dropout,
    )
    say_classes(config, classes)
    check_size(config, _image_classifier)
    set_seed(seed)
    model = _image_classifier(config)
    return Student(model, raw_processor(frame.height, frame.width), _every_name(model))


def _image_classifier(config: PretrainedConfig) -> PreTrainedModel:
    return from_config(config, AutoModelForImageClassification)


def _with_classes(config: PretrainedConfig, classes: list[str]) -> PreTrainedModel:
    say_classes(config, classes)
    return _image_classifier(config)


def _every_name(model: PreTrainedModel) -> frozenset[str]:
    return frozenset(name for name, _ in model.named_parameters())


def _processor(teacher: Loaded | None) -> BaseImageProcessor:
    if teacher is None or not isinstance(teacher.reader, BaseImageProcessor):
        raise StudentUnusable("neither the student nor the teacher has an image processor")
    return teacher.reader


def _reader_for(model: PreTrainedModel, teacher: Loaded | None) -> BaseImageProcessor:
    """The teacher's image processor where the student reads images as the teacher does."""
    if teacher is None or not isinstance(teacher.reader, BaseImageProcessor):
        return plain_processor(model.config)
    sizes = [getattr(one.config, "image_size", None) for one in (model, teacher.model)]
    is_alike = sizes[0] in (None, sizes[1]) and channels_of(model) == channels_of(teacher.model)
    return teacher.reader if is_alike else plain_processor(model.config)
