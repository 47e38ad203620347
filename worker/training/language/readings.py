"""Every example as each model reads it: which of its tokens are learned, how many are cut, what is left out."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.errors import DatasetUnusable, TokenizersDiffer
from worker.training.desk import Desk
from worker.training.language.alignment import Mates, Reader, mates_of
from worker.training.language.data import Writings, check_parts
from worker.training.language.scripts import Cut, Scripts, pieces_of, write_down
from worker.training.language.vocabulary import aligned, check_same_tokens
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.overlap import in_both, remark
from worker.training.split import Parts, Rows
from worker.training.students import Student, required
from worker.training.tokens import identity_of, length_for

FEW_MEET = 0.3
"""Share of the student's tokens below which a teacher of other tokens has little to say."""


class WritingReadings:
    """Encodes the data set once per tokenizer, template and length; models that read alike share the files.

    With `method.alignment` the teacher may cut the completions into other tokens: then `mates` says where the two meet,
    and `why_incomparable` why nothing else can be compared.

    Raises:
        TokenizersDiffer: teacher and student do not cut the completions into the same tokens.
        DatasetUnusable: nothing is left within max_length.
    """

    def __init__(self, desk: Desk, writings: Writings, teachers: Sequence[Loaded], student: Student) -> None:
        self.desk, self.writings = desk, writings
        self._kept: dict[tuple[str, int], Scripts] = {}
        names = [teacher.model for teacher in desk.spec.teacher_models]
        self.mates: Mates | None = None
        self.why_incomparable: str | None = None
        differs = self._differs(student, teachers, names)
        if differs is not None and not desk.spec.is_aligned:
            raise differs
        own = self._written(student.tokenizer, student.model, "the student")
        theirs = [
            self._written(required(teacher.tokenizer), teacher.model, f"teacher '{name}'")
            for teacher, name in zip(teachers, names, strict=True)
        ]
        try:
            self.student, self.teachers = aligned(own, theirs, names) if differs is None else (own, theirs)
        except TokenizersDiffer as found:
            if not desk.spec.is_aligned:
                raise
            self.student, self.teachers, differs = own, theirs, found
        self.parts = self._usable()
        if differs is not None:
            self.why_incomparable = str(differs)
            self.mates = self._mates(student, teachers[0], names[0])
        self.learned = self.parts.train
        """The examples that the student learns from."""

    @staticmethod
    def _differs(student: Student, teachers: Sequence[Loaded], names: Sequence[str]) -> TokenizersDiffer | None:
        try:
            for teacher, name in zip(teachers, names, strict=True):
                check_same_tokens(student.tokenizer, required(teacher.tokenizer), name)
        except TokenizersDiffer as differs:
            return differs
        return None

    def _mates(self, student: Student, teacher: Loaded, name: str) -> Mates:
        """Find where student and teacher meet; what is learned and what is held out must meet somewhere."""
        own = Reader(student.tokenizer, "the student", self.student)
        mates = mates_of(self.writings, own, Reader(required(teacher.tokenizer), name, self.teachers[0]))
        for rows in (self.parts.train, self.parts.held_out):
            if not mates.met(rows):
                raise TokenizersDiffer(name, "no token of the completions begins where one of its own does")
        return mates

    def _written(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, name: str, cut: Cut = pieces_of
    ) -> Scripts:
        stop_if_asked(self.desk.observer)
        training = self.desk.spec.training
        length = length_for(tokenizer, model, training.max_length)
        key = (f"{cut.__name__} {identity_of(tokenizer)} {tokenizer.chat_template} {tokenizer.eos_token_id}", length)
        if key not in self._kept:
            folder = self.desk.folder / "cache" / f"tokens-{len(self._kept)}"
            on_prompt = training.train_on_prompt
            self._kept[key] = write_down(self.writings, tokenizer, name, length, on_prompt, folder, cut)
        return self._kept[key]

    def _usable(self) -> Parts:
        """Return the parts without examples of whose completions nothing is left."""
        has_target = self.student.kept(np.arange(len(self.writings))) > 0
        if not has_target.any():
            longest = self.desk.spec.training.max_length
            raise DatasetUnusable(
                f"all {len(has_target):,} completions are cut away: every prompt alone has {longest} tokens or more "
                "(training.max_length)"
            )
        parts = self.writings.parts
        left = Parts(*(rows[has_target[rows]] for rows in (parts.train, parts.validation, parts.test)))
        check_parts(left)
        return left

    @property
    def dropped(self) -> int:
        parts = self.parts
        return len(self.writings) - len(parts.train) - len(parts.validation) - len(parts.test)

    @property
    def cut(self) -> int:
        return int(self.student.is_cut[self.parts.train].sum())

    @property
    def kept_tokens(self) -> int:
        return int(self.student.kept(self.parts.train).sum())

    @property
    def teachers_tokens(self) -> int:
        """How many tokens of the training completions a teacher reads: kept_tokens, unless its tokens are others."""
        return int(self.teachers[0].kept(self.parts.train).sum())

    @cached_property
    def in_both(self) -> int:
        """How many held-out examples were learned from as well."""
        return in_both(self.parts.train, self.parts.held_out, self.student.seen, self._look)

    def _look(self) -> None:
        self.desk.journey.tell()
        stop_if_asked(self.desk.observer)

    def announce(self) -> None:
        """Say what is left out and what is cut."""
        event = self.desk.observer.event
        if self.writings.left_out:
            event(f"{self.writings.left_out:,} examples have no completion and are left out.", "warning")
        longest = int(self.student.lengths.max())
        if self.dropped:
            event(
                f"{self.dropped:,} of {len(self.writings):,} examples are left out: their prompts alone reach "
                f"{longest} tokens, so that nothing of their completions is left.",
                "warning",
            )
        if self.in_both:
            event(remark(self.in_both, self.parts), "warning")
        whole = len(self.parts.train)
        if self.cut:
            event(f"{self.cut:,} of {whole:,} training examples are cut at {longest} tokens.", "warning")
        event(f"{self.kept_tokens:,} tokens of {whole:,} examples are learned in an epoch.")
        if self.mates is not None:
            self._announce_mates(self.mates.met(self.parts.train))

    def _announce_mates(self, met: int) -> None:
        share = met / self.kept_tokens
        self.desk.observer.event(
            f"{met:,} of these tokens ({share:.0%}) begin where one of the teacher's does, and learn from it as well; "
            "the others learn from the texts alone.",
            "warning" if share < FEW_MEET else "info",
        )
        self.desk.observer.event(f"KL to the teacher and agreement are not measured: {self.why_incomparable}.")

    def rows_of(self, part: Rows, most: int) -> Rows:
        """Return at most so many examples of a part, evenly spread."""
        places = np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(np.int64)
        return part[places]
