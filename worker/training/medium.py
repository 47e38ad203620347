"""What examples are made of, texts or images, as far as classification has to know."""

from pathlib import Path
from typing import Protocol

from peft import TaskType
from transformers import PreTrainedModel

from core.spec import JobSpec
from worker.training.data import Content, Examples
from worker.training.models import Kind, Loaded
from worker.training.reading import Reader, Reading
from worker.training.students import Student


class Medium(Protocol):
    @property
    def content(self) -> Content:
        """What an example shows, in a word."""

    @property
    def kind(self) -> Kind:
        """What classifies it."""

    @property
    def adapters(self) -> TaskType | None:
        """What peft calls the task."""

    def student(
        self, spec: JobSpec, folder: Path | None, teacher: Loaded | None, classes: list[str], examples: Examples
    ) -> Student:
        """Make the student as it is before it learns, the same for the same seed.

        Raises:
            StudentUnusable: what is asked for makes no model.
            ModelUnreadable: the folder does not hold one.
        """

    def identity(self, reader: Reader, model: PreTrainedModel, spec: JobSpec) -> object:
        """Return what tells apart models that read differently."""

    def read(self, examples: Examples, loaded: Loaded, name: str, spec: JobSpec, folder: Path) -> Reading:
        """Read every example once, into files under `folder`.

        Raises:
            ModelUnreadable: model and reader do not fit together.
            DatasetUnusable: an example cannot be read.
        """
