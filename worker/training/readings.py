"""Every text as each model reads it, and what the teachers say about it."""

from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.errors import ModelUnreadable
from worker.training.data import Examples
from worker.training.desk import Desk
from worker.training.models import Loaded, positions_of
from worker.training.observer import stop_if_asked
from worker.training.predict import Pulse, logits_of
from worker.training.signal import Logits
from worker.training.split import Rows
from worker.training.students import Student
from worker.training.teacher_cache import HEARD
from worker.training.teaching import Classroom
from worker.training.tokens import Encoded, encode
from worker.training.turns import Beat

READING_BATCH = 64
SANE_LENGTH = 1_000_000
"""Tokenizers that know no limit say 10^30."""


class Readings:
    """Encodes the data set once per tokenizer and length; models that read alike share the files."""

    def __init__(self, desk: Desk, examples: Examples, classroom: Classroom, student: Student) -> None:
        self.desk, self.examples, self.codes = desk, examples, classroom.codes
        self._kept: dict[tuple[str, int], Encoded] = {}
        self.student = self._encoded(student.tokenizer, student.model)
        self.teachers = [
            self._encoded(_needed(teacher.tokenizer, spec.model), teacher.model)
            for teacher, spec in zip(classroom.teachers, desk.spec.teacher_models, strict=True)
        ]

    def _encoded(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Encoded:
        stop_if_asked(self.desk.observer)
        length = length_for(tokenizer, model, self.desk.spec.training.max_length)
        key = (identity_of(tokenizer), length)
        if key not in self._kept:
            folder = self.desk.folder / "cache" / f"tokens-{len(self._kept)}"
            self._kept[key] = encode(self.examples, tokenizer, length, folder)
        return self._kept[key]

    @property
    def cut_for_student(self) -> int:
        return int(self.student.is_cut[self.examples.parts.train].sum())

    def announce(self) -> None:
        """Say what was left out and what is cut."""
        if self.examples.without_text:
            self.desk.observer.event(
                f"{self.examples.without_text:,} examples have no text and are left out.", "warning"
            )
        whole = len(self.examples.parts.train)
        readers = [("the student", self.student)]
        for number, encoded in enumerate(self.teachers):
            name = "the teacher" if len(self.teachers) == 1 else f"teacher {number + 1}"
            if encoded is not self.student:
                readers.append((name, encoded))
        for name, encoded in readers:
            cut = int(encoded.is_cut[self.examples.parts.train].sum())
            if cut:
                longest = int(encoded.lengths.max())
                self.desk.observer.event(
                    f"{cut:,} of {whole:,} training texts are cut at {longest} tokens for {name}.", "warning"
                )

    def teacher_logits(self, classroom: Classroom) -> list[Logits]:
        """Let every teacher read every text once; its logits are kept on disk and used for all epochs."""
        return [
            self._said(number, teacher, encoded, classroom.classes)
            for number, (teacher, encoded) in enumerate(zip(classroom.teachers, self.teachers, strict=True))
        ]

    def _said(self, number: int, teacher: Loaded, encoded: Encoded, classes: list[str]) -> Logits:
        desk, leg = self.desk, f"reading-{number}"
        is_tuned = desk.spec.teacher_models[number].finetune is not None
        key = None if is_tuned else desk.cache.key(number, encoded, desk.precision, kind="logits", classes=classes)
        with desk.cache.alone([key], self._wait) as beat:
            kept = desk.cache.find(key)
            if kept is not None:
                desk.observer.event(HEARD)
                desk.journey.found(leg, 1.0)
                return kept
            every = np.arange(len(self.examples), dtype=np.int64)
            found = logits_of(
                teacher.model,
                encoded,
                every,
                batch_size=READING_BATCH,
                precision=desk.precision,
                pulse=self._pulse(leg, len(every), beat),
            )
            return desk.cache.keep(key, found, self._path(number))

    def _wait(self) -> None:
        """Another job has its teacher read the same texts."""
        self.desk.journey.tell()
        stop_if_asked(self.desk.observer)

    def _path(self, number: int) -> Path:
        return self.desk.folder / "cache" / f"teacher-{number}-logits.npy"

    def student_logits(self, model: PreTrainedModel, rows: Rows) -> Logits:
        stop_if_asked(self.desk.observer)
        return logits_of(
            model, self.student, rows, batch_size=READING_BATCH, precision=self.desk.precision, pulse=self._sign_of_life
        )

    def _pulse(self, leg: str, total: int, beat: Beat) -> Pulse:
        done = 0

        def pulse(count: int) -> None:
            nonlocal done
            done += count
            self.desk.journey.move(leg, done / total)
            beat()
            stop_if_asked(self.desk.observer)

        return pulse

    def _sign_of_life(self, _count: int) -> None:
        self.desk.journey.tell()


def length_for(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, wanted: int) -> int:
    """Return the most tokens that this model reads: what the spec wants, within the model's and tokenizer's limits."""
    limits = [positions_of(model), tokenizer.model_max_length if tokenizer.model_max_length < SANE_LENGTH else None]
    return min([wanted, *(limit for limit in limits if limit is not None)])


def identity_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what tells tokenizers apart that cut texts differently."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return f"{id(tokenizer)}"
    backend.no_truncation()
    backend.no_padding()
    return f"{backend.to_str()} {tokenizer.pad_token_id} {tokenizer.model_input_names}"


def _needed(tokenizer: PreTrainedTokenizerBase | None, name: str) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        raise ModelUnreadable(name, "its folder has no tokenizer")
    return tokenizer
