"""A job's spec with the rows that it names."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from core.spec import JobSpec, TeacherSpec
from core.tables import Dataset, Model
from service.jobs.faults import Part


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

    @property
    def columns(self) -> dict[str, Any]:
        """The data set's columns by name; none where a hub will say."""
        return {column["name"]: column for column in self.dataset.columns} if self.dataset is not None else {}

    @property
    def frame(self) -> dict[str, Any] | None:
        """What the data set's images have in common; None where there are none, or a hub will say."""
        column = self.columns.get(self.spec.dataset.columns.image, {})
        found: dict[str, Any] | None = column.get("images")
        return found

    def place_of_teacher(self, place: int) -> list[Part]:
        """Where a teacher stands in the body: a single one is written without a list around it."""
        return ["teacher"] if len(self.spec.teacher) == 1 else ["teacher", place]

    def known_teachers(self) -> Iterator[tuple[list[Part], TeacherSpec, Model]]:
        """Yield the teachers whose rows are there, and where each stands in the body."""
        for place, (teacher, model) in enumerate(zip(self.spec.teacher_models, self.teachers, strict=True)):
            if model is not None:
                yield self.place_of_teacher(place), teacher, model
