"""What can be known of a job before it is stored: every fault at once, so that no worker meets it.

The rules about labels are those of training: label values as text match the teacher's names, in any case, or are the
indices of its classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.datasets import Datasets
from core.errors import DatasetNotFound, LabelsDiffer, ModelNameTaken, ModelNotFound, TeacherHasNoHead
from core.lifecycle import ACTIVE
from core.models import Models
from core.spec import JobSpec, TeacherSpec
from core.tables import Dataset, Job, Model
from service.errors import InvalidRequest
from service.jobs.labels import Labels, labels_of
from service.problems import Fault, pointer_of

CHECK_HINTS = {
    "hub_off": "Upload it, or ask the operator for DISTILL_HUB=true.",
    "hub_only": "Leave it out: it belongs to data sets of a hub.",
    "missing_column": "Name a column of the data set in dataset.columns; GET /v1/datasets/{id} lists them.",
    "not_text": "Name the column that holds the text in dataset.columns.text.",
    "too_many_labels": "Name the column that holds the class in dataset.columns.label.",
    "one_class": "A classifier needs two classes or more.",
    "no_labels": "Set alpha to 1 (and leave finetune out) to learn from the teacher alone.",
    "nothing_held_out": "Give dataset.test or dataset.validation a share.",
    "too_few_examples": "Upload more labelled examples, or lower dataset.validation and dataset.test.",
    "unknown_part": "The split column may say train, validation or test.",
    "no_such_layer": "Name layers that the teacher has.",
}
PARTS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test"})


@dataclass
class Checked:
    """A spec with its task decided, and the rows that it names; None where a hub will say."""

    spec: JobSpec
    dataset: Dataset | None = None
    teachers: list[Model | None] = field(default_factory=list)
    student: Model | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def model_ids(self) -> list[str]:
        return [model.id for model in [*self.teachers, self.student] if model is not None]


def check(session: Session, owner: str, spec: JobSpec, *, hub: bool, max_labels: int) -> Checked:
    """Return the checked spec. Raises InvalidRequest with every fault."""
    checked = Checked(spec.model_copy(update={"task": spec.task or "text-classification"}))
    faults = [*_Checks(session, owner, checked, hub, max_labels).faults()]
    if faults:
        raise InvalidRequest(faults)
    return checked


@dataclass
class _Checks:
    session: Session
    owner: str
    checked: Checked
    hub: bool
    max_labels: int

    def faults(self) -> Iterator[Fault]:
        spec = self.checked.spec
        yield from self._dataset()
        for place, teacher in enumerate(spec.teacher):
            parts = ["teacher"] if len(spec.teacher) == 1 else ["teacher", place]
            model, found = self._model(teacher.model, [*parts, "model"])
            self.checked.teachers.append(model)
            yield from found
        if spec.student.model is not None:
            self.checked.student, found = self._model(spec.student.model, ["student", "model"])
            yield from found
        dataset = self.checked.dataset
        labels = labels_of(dataset, spec.dataset.columns.label) if dataset is not None else None
        if labels is not None:
            yield from self._labels(labels)
        for place, (teacher, model) in enumerate(zip(spec.teacher, self.checked.teachers, strict=True)):
            if model is not None:
                yield from self._teacher(teacher, model, labels, place)
        yield from self._layers()
        yield from self._output_name()

    def _dataset(self) -> Iterator[Fault]:
        wanted = self.checked.spec.dataset
        if "/" in wanted.id:
            if not self.hub:
                yield _fault(["dataset", "id"], "hub_off", "the hub is turned off here")
            return
        try:
            self.checked.dataset = Datasets(self.session, self.owner).get(wanted.id)
        except DatasetNotFound as error:
            yield _fault(["dataset", "id"], error.code, str(error), error.hint)
            return
        for name in ("subset", "split"):
            if getattr(wanted, name) is not None:
                yield _fault(["dataset", name], "hub_only", f"{name} belongs to data sets of a hub")
        yield from self._columns(self.checked.dataset)

    def _columns(self, dataset: Dataset) -> Iterator[Fault]:
        columns = self.checked.spec.dataset.columns
        present = {column["name"]: column for column in dataset.columns}
        for role in ("text", "text_pair", "split"):
            name = getattr(columns, role)
            if name is not None and name not in present:
                yield self._missing_column(role, name, list(present))
        if present.get(columns.text, {}).get("type", "string") != "string":
            detail = f"column '{columns.text}' holds {present[columns.text]['type']}, not text"
            yield _fault(["dataset", "columns", "text"], "not_text", detail)
        if columns.label not in present and self.checked.spec.alpha < 1:
            yield self._missing_column("label", columns.label, list(present))
        if columns.split in present:
            unknown = [name for name in present[columns.split]["values"] or [] if name.strip().casefold() not in PARTS]
            if unknown:
                detail = f"the split column says {_short(unknown)}"
                yield _fault(["dataset", "columns", "split"], "unknown_part", detail)

    def _missing_column(self, role: str, name: str, present: Sequence[str]) -> Fault:
        detail = f"the data set has no column '{name}'; it has {', '.join(present[:20])}"
        hint = f'Write dataset.columns.{role}, such as {{"{role}": "{present[0]}"}}.'
        return _fault(["dataset", "columns", role], "missing_column", detail, hint)

    def _model(self, reference: str, parts: list[str | int]) -> tuple[Model | None, list[Fault]]:
        model = Models(self.session, self.owner).find(reference)
        if model is not None:
            return model, []
        if "/" in reference:
            return None, [] if self.hub else [_fault(parts, "hub_off", "the hub is turned off here")]
        query = select(Job.status).where(Job.id == reference, Job.owner == self.owner)
        status = self.session.scalars(query).one_or_none()
        if status is not None:
            detail = f"job '{reference}' is {status} and has left no model"
            return None, [_fault(parts, "model_not_found", detail, "Name a job that has succeeded.")]
        error = ModelNotFound(reference)
        return None, [_fault(parts, error.code, str(error), error.hint)]

    def _labels(self, labels: Labels) -> Iterator[Fault]:
        spec = self.checked.spec
        parts: list[str | int] = ["dataset", "columns", "label"]
        if labels.names is None or len(labels.names) > self.max_labels:
            detail = f"column '{labels.column}' has more than {self.max_labels} different labels"
            yield _fault(parts, "too_many_labels", detail)
        elif len(labels.names) == 1:
            detail = f"all labels are '{labels.names[0]}': there is nothing to tell apart"
            yield _fault(parts, "one_class", detail)
        elif not labels.names and spec.alpha < 1:
            detail = f"column '{labels.column}' holds no label, but alpha < 1 gives labels a share"
            yield _fault(parts, "no_labels", detail)
        elif not labels.names:
            self._without_labels()
        if spec.dataset.columns.split is None:
            yield from self._parts(labels)

    def _without_labels(self) -> None:
        if self.checked.spec.evaluation.baseline:
            self.checked.warnings.append(
                "The data set has no labels, so the report has no accuracy and no baseline trained on labels alone."
            )

    def _parts(self, labels: Labels) -> Iterator[Fault]:
        """Both shares are drawn from the labelled examples, at least one each; without labels from all."""
        wanted = self.checked.spec.dataset
        pool = labels.labelled or labels.examples
        shares = [share for share in (wanted.test, wanted.validation) if share > 0]
        if not shares:
            detail = "nothing is held out, so nothing can be measured"
            yield _fault(["dataset", "test"], "nothing_held_out", detail)
        elif sum(max(1, round(pool * share)) for share in shares) >= pool:
            detail = f"{pool} labelled example{'s are' if pool != 1 else ' is'} too few for these shares"
            yield _fault(["dataset"], "too_few_examples", detail)

    def _teacher(self, teacher: TeacherSpec, model: Model, labels: Labels | None, place: int) -> Iterator[Fault]:
        if teacher.finetune is not None:
            if labels is not None and not labels.names:
                parts: list[str | int] = ["teacher", "finetune"]
                yield _fault(parts, "no_labels", "fine-tuning needs labels and there are none")
            return
        parts = ["teacher"] if len(self.checked.spec.teacher) == 1 else ["teacher", place]
        if model.task != "text-classification" or not model.labels:
            bare = TeacherHasNoHead(teacher.model)
            yield _fault([*parts, "finetune"], bare.code, str(bare), bare.hint)
        elif labels is not None and labels.names:
            lacking = labels.lacking_in(model.labels)
            if lacking:
                differ = LabelsDiffer(teacher.model, _short(lacking), _short(model.labels))
                yield _fault([*parts, "model"], differ.code, str(differ), differ.hint)

    def _layers(self) -> Iterator[Fault]:
        source = self.checked.spec.student.from_teacher
        teacher = self.checked.teachers[0]
        if source is None or teacher is None or teacher.layers is None:
            return
        for place, layer in enumerate(source.layers):
            if layer >= teacher.layers:
                detail = f"the teacher has layers 0 to {teacher.layers - 1}, not {layer}"
                yield _fault(["student", "from_teacher", "layers", place], "no_such_layer", detail)

    def _output_name(self) -> Iterator[Fault]:
        name = self.checked.spec.output.model
        if name is None:
            return
        wanted = Job.spec["output"]["model"].as_string() == name
        query = select(Job.id).where(Job.owner == self.owner, Job.status.in_(ACTIVE), wanted).limit(1)
        job_id = self.session.scalars(query).one_or_none()
        if job_id is not None or Models(self.session, self.owner).find(name) is not None:
            error = ModelNameTaken(name)
            detail = f"job '{job_id}' will make a model '{name}'" if job_id else str(error)
            yield _fault(["output", "model"], error.code, detail, error.hint)


def _fault(parts: Sequence[str | int], code: str, detail: str, hint: str | None = None) -> Fault:
    return Fault(pointer=pointer_of(parts), detail=detail, code=code, hint=hint or CHECK_HINTS[code])


def _short(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
