"""What can be known of a job before it is stored: every fault at once, so that no worker meets it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.addresses import reach_of
from core.architectures import MlpSpec
from core.blobs import Blobs
from core.datasets import Datasets
from core.errors import DatasetNotFound, ModelNameTaken, ModelNotFound
from core.lifecycle import ACTIVE
from core.models import Models
from core.settings import Settings
from core.spec import JobSpec, Task
from core.tables import Job, Model
from service.errors import InvalidRequest
from service.jobs.black_box import endpoint_faults, endpoint_warnings
from service.jobs.checked import Checked
from service.jobs.classifying import classifying_faults
from service.jobs.faults import Part, fault
from service.jobs.writing import writing_faults
from service.problems import Fault
from service.validation import HINTS


def check(
    session: Session, owner: str, spec: JobSpec, blobs: Blobs, settings: Settings, unheard: Sequence[Fault] = ()
) -> Checked:
    """Return the checked spec. Raises InvalidRequest with every fault, `unheard` (`probing`) among them."""
    checked = Checked(spec)
    faults = [*_Checks(session, owner, checked, blobs, settings.hub, settings.max_labels).faults()]
    faults += [*endpoint_faults(session, owner, spec, reach_of(settings)), *unheard]
    if faults:
        raise InvalidRequest(faults)
    checked.warnings += endpoint_warnings(spec)
    return checked


def decided_task(checked: Checked) -> Task:
    """Return what the job is for: as it says, or by its method, its data set's columns and its first teacher."""
    spec, present = checked.spec, checked.columns
    if spec.task is not None:
        return spec.task
    if spec.method.type != "logits":
        return "text-generation"
    columns = spec.dataset.columns
    if looks_at_images(checked):
        return "image-classification"
    form = columns.form_of(present)
    is_labelled = columns.text in present and columns.label in present
    if form in ("messages", "prompt") and not is_labelled:
        return "text-generation"
    teacher = next(iter(checked.teachers), None)
    writes = teacher is not None and teacher.task == "text-generation"
    return "text-generation" if writes and not is_labelled else "text-classification"


def looks_at_images(checked: Checked) -> bool:
    """By the data set's columns; where a hub will say, by the models."""
    columns, present = checked.spec.dataset.columns, checked.columns
    if checked.dataset is None:
        tasks = {model.task for model in [*checked.teachers, checked.student] if model is not None}
        return isinstance(checked.spec.student.config, MlpSpec) or "image-classification" in tasks
    has_images = present.get(columns.image, {}).get("type") == "image"
    return has_images and columns.text not in present


@dataclass
class _Checks:
    session: Session
    owner: str
    checked: Checked
    blobs: Blobs
    hub: bool
    max_labels: int

    def faults(self) -> Iterator[Fault]:
        yield from self._dataset()
        yield from self._models()
        task = decided_task(self.checked)
        self.checked.spec = spec = self.checked.spec.model_copy(update={"task": task})
        for parts, why in spec.misfits():
            yield fault(parts, "wrong_for_task", f"task {task}: {why}", HINTS["wrong_for_task"])
        if task == "text-generation":
            yield from writing_faults(self.checked, self.blobs)
        else:
            yield from classifying_faults(self.checked, self.max_labels)
        yield from self._layers()
        yield from self._output_name()

    def _dataset(self) -> Iterator[Fault]:
        wanted = self.checked.spec.dataset
        if "/" in wanted.id:
            if not self.hub:
                yield fault(["dataset", "id"], "hub_off", "the hub is turned off here")
            return
        try:
            self.checked.dataset = Datasets(self.session, self.owner).get(wanted.id, hold="from_going")
        except DatasetNotFound as error:
            yield fault(["dataset", "id"], error.code, str(error), error.hint)
            return
        for name in ("subset", "split"):
            if getattr(wanted, name) is not None:
                yield fault(["dataset", name], "hub_only", f"{name} belongs to data sets of a hub")

    def _models(self) -> Iterator[Fault]:
        spec = self.checked.spec
        for place, teacher in enumerate(spec.teacher_models):
            model, faults = self._model(teacher.model, [*self.checked.place_of_teacher(place), "model"])
            self.checked.teachers.append(model)
            yield from faults
        if spec.student.model is not None:
            self.checked.student, faults = self._model(spec.student.model, ["student", "model"])
            yield from faults

    def _model(self, reference: str, parts: list[Part]) -> tuple[Model | None, list[Fault]]:
        model = Models(self.session, self.owner).find(reference, hold="from_going")
        if model is not None:
            return model, []
        if "/" in reference:
            return None, [] if self.hub else [fault(parts, "hub_off", "the hub is turned off here")]
        query = select(Job.status).where(Job.id == reference, Job.owner == self.owner)
        status = self.session.scalars(query).one_or_none()
        if status is not None:
            detail = f"job '{reference}' is {status} and has left no model"
            return None, [fault(parts, "model_not_found", detail, "Name a job that has succeeded.")]
        error = ModelNotFound(reference)
        return None, [fault(parts, error.code, str(error), error.hint)]

    def _layers(self) -> Iterator[Fault]:
        source = self.checked.spec.student.from_teacher
        teacher = next(iter(self.checked.teachers), None)
        if source is None or teacher is None:
            return
        if teacher.layers is None:
            if teacher.task == "image-classification":
                detail = f"the teacher is a {teacher.architecture}, which has no list of layers to copy"
                yield fault(["student", "from_teacher"], "no_such_layer", detail)
            return
        for place, layer in enumerate(source.layers):
            if layer >= teacher.layers:
                detail = f"the teacher has layers 0 to {teacher.layers - 1}, not {layer}"
                yield fault(["student", "from_teacher", "layers", place], "no_such_layer", detail)

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
            yield fault(["output", "model"], error.code, detail, error.hint)
