"""Texts: what classifies and reads them."""

from pathlib import Path

from peft import TaskType
from transformers import PreTrainedModel

from core.errors import ModelUnreadable
from core.spec import JobSpec
from worker.training.data import Content, Examples
from worker.training.models import TEXT_CLASSIFIER, Kind, Loaded
from worker.training.reading import Reader, tokenizer_of
from worker.training.students import Student, build
from worker.training.tokens import Encoded, encode, identity_of, length_for


class Texts:
    content: Content = "text"
    kind: Kind = TEXT_CLASSIFIER
    adapters: TaskType | None = TaskType.SEQ_CLS

    def student(
        self, spec: JobSpec, folder: Path | None, teacher: Loaded | None, classes: list[str], examples: Examples
    ) -> Student:
        return build(spec.student, folder, teacher, classes, spec.training.seed)

    def identity(self, reader: Reader, model: PreTrainedModel, spec: JobSpec) -> object:
        tokenizer = tokenizer_of(reader)
        return identity_of(tokenizer), length_for(tokenizer, model, spec.training.max_length)

    def read(self, examples: Examples, loaded: Loaded, name: str, spec: JobSpec, folder: Path) -> Encoded:
        if loaded.tokenizer is None:
            raise ModelUnreadable(name, "its folder has no tokenizer")
        length = length_for(loaded.tokenizer, loaded.model, spec.training.max_length)
        return encode(examples, loaded.tokenizer, length, folder)
