"""What can be wrong with a classifier's job.

The rules about labels are those of training: label values as text match the teacher's names, in any case, or are the
indices of its classes.
"""

from collections.abc import Iterator

from core.errors import LabelsDiffer, TeacherHasNoHead
from core.spec import TeacherSpec
from core.tables import Model
from service.jobs.checked import Checked
from service.jobs.faults import Part, fault, missing_column, share_faults, short, split_faults
from service.jobs.labels import Labels, labels_of
from service.jobs.looking import image_faults
from service.problems import Fault


def classifying_faults(checked: Checked, max_labels: int) -> Iterator[Fault]:
    """Find what a worker would find: columns, labels, and teachers that do not know them."""
    labels = None
    looks = checked.spec.task == "image-classification"
    if checked.dataset is not None:
        yield from image_faults(checked) if looks else _texts(checked)
        yield from _columns(checked)
        labels = labels_of(checked.dataset, checked.spec.dataset.columns.label)
        yield from _labels(checked, labels, max_labels)
    for parts, teacher, model in checked.known_teachers():
        wrong = _medium(teacher.model, model, [*parts, "model"], looks)
        yield from [wrong] if wrong else _teacher(teacher, model, labels, parts)
    if checked.student is not None and checked.spec.student.model is not None:
        wrong = _medium(checked.spec.student.model, checked.student, ["student", "model"], looks)
        yield from [wrong] if wrong else []


def _medium(name: str, model: Model, parts: list[Part], looks: bool) -> Fault | None:
    """A model of texts sees no images, and the other way round."""
    if looks and model.task != "image-classification":
        return fault(parts, "not_an_image_model", f"'{name}' is a {model.architecture}, which sees no images")
    if not looks and model.task == "image-classification":
        return fault(parts, "not_a_text_model", f"'{name}' is a {model.architecture}, which reads no texts")
    return None


def _texts(checked: Checked) -> Iterator[Fault]:
    columns, present = checked.spec.dataset.columns, checked.columns
    for role in ("text", "text_pair"):
        name = getattr(columns, role)
        if name is not None and name not in present:
            yield missing_column(role, name, list(present))
    if present.get(columns.text, {}).get("type", "string") != "string":
        detail = f"column '{columns.text}' holds {present[columns.text]['type']}, not text"
        yield fault(["dataset", "columns", "text"], "not_text", detail)


def _columns(checked: Checked) -> Iterator[Fault]:
    columns, present = checked.spec.dataset.columns, checked.columns
    if columns.label not in present and checked.spec.alpha < 1:
        yield missing_column("label", columns.label, list(present))
    yield from split_faults(columns.split, present)


def _labels(checked: Checked, labels: Labels, max_labels: int) -> Iterator[Fault]:
    spec = checked.spec
    parts: list[Part] = ["dataset", "columns", "label"]
    if checked.columns.get(labels.column, {}).get("type") == "json":
        detail = (
            f"column '{labels.column}' holds lists or objects; an example has one label, written as text or a number"
        )
        yield fault(parts, "not_a_label", detail)
    elif labels.names is None or len(labels.names) > max_labels:
        yield fault(parts, "too_many_labels", f"column '{labels.column}' has more than {max_labels} different labels")
    elif len(labels.names) == 1:
        yield fault(parts, "one_class", f"all labels are '{labels.names[0]}': there is nothing to tell apart")
    elif not labels.names and spec.alpha < 1:
        detail = f"column '{labels.column}' holds no label, but alpha < 1 gives labels a share"
        yield fault(parts, "no_labels", detail)
    elif not labels.names and spec.teacher and spec.evaluation.baseline:
        checked.warnings.append(
            "The data set has no labels, so the report has no accuracy and no baseline trained on labels alone."
        )
    yield from share_faults(spec.dataset, labels.labelled or labels.examples, "labelled")


def _teacher(teacher: TeacherSpec, model: Model, labels: Labels | None, parts: list[Part]) -> Iterator[Fault]:
    if teacher.finetune is not None:
        if labels is not None and not labels.names:
            yield fault([*parts, "finetune"], "no_labels", "fine-tuning needs labels and there are none")
        return
    if model.task not in ("text-classification", "image-classification") or not model.labels:
        bare = TeacherHasNoHead(teacher.model)
        yield fault([*parts, "finetune"], bare.code, str(bare), bare.hint)
    elif labels is not None and labels.names:
        lacking = labels.lacking_in(model.labels)
        if lacking:
            differ = LabelsDiffer(teacher.model, short(lacking), short(model.labels))
            yield fault([*parts, "model"], differ.code, str(differ), differ.hint)
