"""Every example as each model reads it: which of its tokens are learned, how many are cut, what is left out."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.errors import DatasetUnusable
from worker.training.desk import Desk
from worker.training.language.data import Writings, check_parts
from worker.training.language.scripts import Cut, Scripts, pieces_of, write_down
from worker.training.language.vocabulary import aligned, check_same_tokens
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.split import Parts, Rows
from worker.training.students import Student, required
from worker.training.tokens import identity_of, length_for


class WritingReadings:
    """Encodes the data set once per tokenizer, template and length; models that read alike share the files.

    Raises:
        TokenizersDiffer: teacher and student do not cut the completions into the same tokens.
        DatasetUnusable: nothing is left within max_length.
    """

    def __init__(self, desk: Desk, writings: Writings, teachers: Sequence[Loaded], student: Student) -> None:
        self.desk, self.writings = desk, writings
        self._kept: dict[tuple[str, int], Scripts] = {}
        names = [teacher.model for teacher in desk.spec.teacher_models]
        for teacher, name in zip(teachers, names, strict=True):
            check_same_tokens(student.tokenizer, required(teacher.tokenizer), name)
        own = self._written(student.tokenizer, student.model, "the student")
        theirs = [
            self._written(required(teacher.tokenizer), teacher.model, f"teacher '{name}'")
            for teacher, name in zip(teachers, names, strict=True)
        ]
        self.student, self.teachers = aligned(own, theirs, names)
        self.parts = self._usable()
        self.learned = self.parts.train
        """The examples that the student learns from."""

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
        whole = len(self.parts.train)
        if self.cut:
            event(f"{self.cut:,} of {whole:,} training examples are cut at {longest} tokens.", "warning")
        event(f"{self.kept_tokens:,} tokens of {whole:,} examples are learned in an epoch.")

    def rows_of(self, part: Rows, most: int) -> Rows:
        """Return at most so many examples of a part, evenly spread."""
        places = np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(np.int64)
        return part[places]
