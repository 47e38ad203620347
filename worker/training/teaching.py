"""The teachers: loaded, and matched with the labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import DatasetUnusable, LabelsDiffer, ModelUnreadable, StudentUnusable, TeacherHasNoHead
from core.spec import JobSpec, TeacherSpec
from worker.training.data import UNLABELLED, Examples
from worker.training.labels import missing_from, permutation_to, places_among
from worker.training.models import TEXT_CLASSIFIER, Kind, Loaded, load, say_classes
from worker.training.split import Rows
from worker.training.students import permute_head


@dataclass(frozen=True)
class Classroom:
    """The teachers with heads that agree on the classes and their order, and the examples' classes in that order."""

    teachers: list[Loaded]
    classes: list[str]
    codes: Rows


def gather(spec: JobSpec, folders: tuple[Path, ...], examples: Examples, kind: Kind = TEXT_CLASSIFIER) -> Classroom:
    """Load all teachers, if any, and settle the classes before anything is trained.

    A head that knows the data set's labels decides the order (the first teacher's, in an ensemble) and may know more
    classes; otherwise a teacher that is to be fine-tuned gets a fresh head for the labels as they are.

    Raises:
        TeacherHasNoHead: a bare encoder that is not to be fine-tuned.
        LabelsDiffer: a head that lacks labels of the data set and is not to be fine-tuned.
        DatasetUnusable: a teacher is to be fine-tuned and no training example has a label.
    """
    seed = spec.training.seed
    teachers: list[Loaded] = []
    classes: list[str] | None = None
    for wanted, folder in zip(spec.teacher_models, folders, strict=True):
        loaded = load(folder, wanted.model, seed, kind)
        if loaded.reader is None:
            raise ModelUnreadable(wanted.model, f"its folder has no {kind.reader}")
        if wanted.finetune is not None and not len(examples.labelled_train):
            raise DatasetUnusable(f"teacher '{wanted.model}' cannot be fine-tuned: no training example has a label")
        if _knows(loaded, examples.names):
            classes = classes if classes is not None else loaded.classes
        elif wanted.finetune is None:
            raise _refusal(wanted, loaded, examples.names)
        teachers.append(loaded)
    order = classes if classes is not None else examples.names
    if len(order) < 2:
        raise DatasetUnusable("the data set has no labels and no teacher's head says what the classes are")
    return Classroom(
        [
            _with_classes(loaded, wanted, folder, order, seed, kind)
            for loaded, wanted, folder in zip(teachers, spec.teacher_models, folders, strict=True)
        ],
        order,
        recoded(examples, order),
    )


def _knows(loaded: Loaded, names: list[str]) -> bool:
    return loaded.has_head and len(loaded.classes) > 1 and places_among(names, loaded.classes) is not None


def _refusal(wanted: TeacherSpec, loaded: Loaded, names: list[str]) -> Exception:
    if not loaded.has_head:
        return TeacherHasNoHead(wanted.model)
    missing = missing_from(loaded.classes, names) or names
    return LabelsDiffer(wanted.model, _some(missing), _some(loaded.classes))


def _some(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10:,} more"


def _with_classes(loaded: Loaded, wanted: TeacherSpec, folder: Path, order: list[str], seed: int, kind: Kind) -> Loaded:
    places = permutation_to(loaded.classes, order) if loaded.has_head else None
    if places is None and wanted.finetune is None:
        raise LabelsDiffer(wanted.model, _some(missing_from(loaded.classes, order) or order), _some(loaded.classes))
    if places is None:
        return load(folder, wanted.model, seed, kind, classes=order, fresh_head=True)
    if places != list(range(len(order))):
        try:
            permute_head(loaded.model, places)
        except StudentUnusable as error:
            raise LabelsDiffer(wanted.model, "in the first teacher's order", _some(loaded.classes)) from error
    say_classes(loaded.model.config, order)
    return loaded


def recoded(examples: Examples, order: list[str]) -> Rows:
    """Return the examples' classes as places in `order`."""
    places = places_among(examples.names, order)
    if places is None:
        raise DatasetUnusable("the labels are not among the classes")
    table = np.array([*places, UNLABELLED], dtype=np.int64)
    codes: Rows = table[examples.codes]  # UNLABELLED is -1 and so reads the last place
    return codes
