"""Every example as each model reads it, and what the teachers say about it."""

from functools import cached_property
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from core.errors import ModelUnreadable
from worker.training.data import Examples
from worker.training.desk import Desk
from worker.training.medium import Medium
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.overlap import in_both, remark
from worker.training.predict import Pulse, logits_of
from worker.training.reading import Reading
from worker.training.signal import Logits
from worker.training.split import Rows
from worker.training.students import Student
from worker.training.teacher_cache import HEARD
from worker.training.teaching import Classroom
from worker.training.turns import Beat

READING_BATCH = 64


class Readings:
    """Reads the data set once per way of reading; models that read alike share the files."""

    def __init__(self, desk: Desk, examples: Examples, classroom: Classroom, student: Student, medium: Medium) -> None:
        self.desk, self.examples, self.codes, self.medium = desk, examples, classroom.codes, medium
        self._kept: dict[object, Reading] = {}
        self.student = self._read(Loaded(student.model, student.reader, student.fresh), "student")
        self.teachers = [
            self._read(teacher, spec.model)
            for teacher, spec in zip(classroom.teachers, desk.spec.teacher_models, strict=True)
        ]

    def _read(self, loaded: Loaded, name: str) -> Reading:
        stop_if_asked(self.desk.observer)
        if loaded.reader is None:
            raise ModelUnreadable(name, f"its folder has no {self.medium.kind.reader}")
        key = self.medium.identity(loaded.reader, loaded.model, self.desk.spec)
        if key not in self._kept:
            folder = self.desk.folder / "cache" / f"reading-{len(self._kept)}"
            self._kept[key] = self.medium.read(self.examples, loaded, name, self.desk.spec, folder)
        return self._kept[key]

    @property
    def cut_for_student(self) -> int:
        return int(self.student.is_cut[self.examples.parts.train].sum())

    @cached_property
    def in_both(self) -> int:
        """How many held-out examples were learned from as well."""
        parts = self.examples.parts
        train = parts.train if self.teachers else self.examples.labelled_train
        return in_both(train, parts.held_out, self.student.seen, self._look)

    def _look(self) -> None:
        self.desk.journey.tell()
        stop_if_asked(self.desk.observer)

    def announce(self) -> None:
        """Say what was left out, and what each model does not see as it is."""
        if self.examples.without_content:
            self.desk.observer.event(
                f"{self.examples.without_content:,} examples have no {self.medium.content} and are left out.", "warning"
            )
        if self.in_both:
            self.desk.observer.event(remark(self.in_both, self.examples.parts), "warning")
        readers = [("the student", self.student)]
        for number, reading in enumerate(self.teachers):
            name = "the teacher" if len(self.teachers) == 1 else f"teacher {number + 1}"
            if reading is not self.student:
                readers.append((name, reading))
        for name, reading in readers:
            for found in reading.remarks(self.examples.parts.train, name):
                self.desk.observer.event(found, "warning")

    def teacher_logits(self, classroom: Classroom) -> list[Logits]:
        """Let every teacher read every example once; its logits are kept on disk and used for all epochs."""
        return [
            self._said(number, teacher, reading, classroom.classes)
            for number, (teacher, reading) in enumerate(zip(classroom.teachers, self.teachers, strict=True))
        ]

    def _said(self, number: int, teacher: Loaded, reading: Reading, classes: list[str]) -> Logits:
        desk, leg = self.desk, f"reading-{number}"
        is_tuned = desk.spec.teacher_models[number].finetune is not None
        key = None if is_tuned else desk.cache.key(number, reading, desk.precision, kind="logits", classes=classes)
        with desk.cache.alone([key], self._wait) as beat:
            kept = desk.cache.find(key)
            if kept is not None:
                desk.observer.event(HEARD)
                desk.journey.found(leg, 1.0)
                return kept
            every = np.arange(len(self.examples), dtype=np.int64)
            found = logits_of(
                teacher.model,
                reading,
                every,
                batch_size=READING_BATCH,
                precision=desk.precision,
                pulse=self._pulse(leg, len(every), beat),
            )
            return desk.cache.keep(key, found, self._path(number))

    def _wait(self) -> None:
        """Another job has its teacher read the same examples."""
        self._look()

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
