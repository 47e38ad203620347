"""What a student that learned from texts leaves behind, for the report."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from worker.training.assess import unique_names
from worker.training.desk import Desk
from worker.training.generation.samples import Prompt
from worker.training.generation.sequence import Written
from worker.training.language.texts.course import Listening
from worker.training.language.texts.questions import Own
from worker.training.language.texts.readings import Reader, Scribe, TextReadings
from worker.training.phase import Trained
from worker.training.split import Rows


@dataclass(frozen=True)
class Finished:
    """All that the report is about."""

    desk: Desk
    prompts: list[Prompt]
    texts: Written
    readings: TextReadings
    heard: Listening | None
    teachers: list[Reader]
    student: Reader
    """As it was before it learned."""
    trained: Trained
    baseline: Trained | None
    no_baseline: str | None
    """Why there is none."""
    own: Own
    own_scribe: Scribe
    engines: dict[str, str]
    """What computed each teacher's texts."""

    @property
    def students(self) -> dict[str, PreTrainedModel]:
        found = {"student_before": self.student.model, "student_after": self.trained.model}
        return found | ({"baseline": self.baseline.model} if self.baseline is not None else {})

    @property
    def teachers_by_name(self) -> dict[str, Reader]:
        return dict(zip(unique_names([one.name for one in self.teachers]), self.teachers, strict=True))

    @property
    def held_out(self) -> Rows:
        """The texts that everything is measured on."""
        return self.readings.parts.held_out
