"""The models of a finished job: its teacher, its student as it began, and its student. What is gone is said to be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.artifacts import artifacts_of
from core.models import Models
from core.serving import ServedFile, ServedModel
from core.settings import Settings
from core.spec import JobSpec
from core.tables import Job, JobModel
from service.inference.lookup import files_of

Role = Literal["teacher", "student_before", "student_after"]


@dataclass(frozen=True)
class Side:
    """One of the models that are compared, or why it is not."""

    role: Role
    name: str | None
    model: ServedModel | None = None
    omitted: str | None = None


def sides_of(session: Session, owner: str, job: Job, settings: Settings) -> tuple[Side, Side, Side]:
    found = _Sides(session, owner, job, JobSpec.model_validate(job.spec), settings)
    return found.teacher(), found.student_before(), found.student_after()


@dataclass(frozen=True)
class _Sides:
    session: Session
    owner: str
    job: Job
    spec: JobSpec
    settings: Settings

    def teacher(self) -> Side:
        """The teacher, of several the one with the largest weight; as the job fine-tuned it, where it did."""
        weights = [teacher.weight for teacher in self.spec.teacher_models]
        if not weights:
            endpoint = self.spec.endpoint
            if endpoint is None:
                return Side("teacher", None, omitted="the job has no teacher: its student learned from labels alone")
            return Side(
                "teacher", endpoint.model, omitted="it is behind an endpoint, which is asked for nothing but its job"
            )
        return self._teacher("teacher", weights.index(max(weights)))

    def student_before(self) -> Side:
        student = self.spec.student
        if student.config is not None:
            return Side("student_before", None, omitted="the student began with random weights: it had nothing to say")
        if student.from_teacher is None:
            assert student.model is not None, "the spec sees to it"
            return self._model("student_before", student.model)
        source = self._teacher("student_before", 0)
        if source.model is None:
            return source
        layers = student.from_teacher.layers
        key = f"{source.model.key} layers {','.join(str(layer) for layer in layers)}"
        return self._fitting("student_before", source.model.model_copy(update={"layers": layers, "key": key}))

    def student_after(self) -> Side:
        model = Models(self.session, self.owner).find(self.job.id)
        if model is None:
            return Side("student_after", None, omitted="the job's model was deleted")
        return self._fitting("student_after", ServedModel(key=model.id, name=model.name, files=files_of(model.files)))

    def _teacher(self, role: Role, place: int) -> Side:
        teacher = self.spec.teacher_models[place]
        if teacher.finetune is None:
            return self._model(role, teacher.model)
        folder = f"teacher-{place + 1}/" if len(self.spec.teacher_models) > 1 else "teacher/"
        files = tuple(self._artifacts_below(folder))
        if not files:
            return Side(role, teacher.model, omitted="the fine-tuned teacher is not among the job's artifacts")
        name = f"{teacher.model} (fine-tuned)"
        return self._fitting(role, ServedModel(key=f"{self.job.id}/{folder}", name=name, files=files))

    def _artifacts_below(self, folder: str) -> Iterable[ServedFile]:
        for row in artifacts_of(self.session, self.job.id):
            if row.path.startswith(folder):
                path = row.path.removeprefix(folder)
                yield ServedFile(path=path, bytes=row.bytes, sha256=row.sha256, blob_key=row.blob_key)

    def _model(self, role: Role, reference: str) -> Side:
        """The model of that name, if it is still the one that the job read."""
        model = Models(self.session, self.owner).find(reference)
        if model is None:
            gone = "it came from a hub, whose files are not kept here" if "/" in reference else "it was deleted"
            return Side(role, reference, omitted=gone)
        read = self.session.scalars(select(JobModel.model_id).where(JobModel.job_id == self.job.id)).all()
        if model.id not in read:
            return Side(role, reference, omitted="the model of this name is another one than the job read")
        return self._fitting(role, ServedModel(key=model.id, name=model.name, files=files_of(model.files)))

    def _fitting(self, role: Role, model: ServedModel) -> Side:
        if model.bytes > self.settings.serving_memory_bytes:
            return Side(role, model.name, omitted="it is too large to be served (DISTILL_SERVING_MEMORY_BYTES)")
        return Side(role, model.name, model)
