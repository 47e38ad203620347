"""The data set as a student reads it that also writes: beside the completions, what it may be asked."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.errors import DatasetUnusable
from core.methods import OnPolicyMethod
from worker.training.desk import Desk
from worker.training.language.answers import Answered
from worker.training.language.chats import Piece, asked_pieces
from worker.training.language.data import Writing, Writings
from worker.training.language.readings import WritingReadings
from worker.training.language.scripts import Mask, Scripts, opening_of, without
from worker.training.models import Loaded
from worker.training.overlap import in_both, remark
from worker.training.split import Parts, Rows
from worker.training.students import Student, required
from worker.training.tokens import length_for

NO_PROMPTS = "texts without prompts leave nothing to ask: method on_policy needs a column of prompts or of messages"


def prompt_of(writing: Writing, tokenizer: PreTrainedTokenizerBase, name: str) -> Iterable[Piece]:
    """Cut out what comes before the completion, as `pieces_of` cuts it."""
    if writing.messages is not None:
        return asked_pieces(writing.messages, tokenizer, name)
    return [Piece(writing.prompt, is_learned=False)] if writing.has_prompt() else []


def left_open(writings: Answered, student: Scripts, teachers: Sequence[Scripts]) -> tuple[Scripts, list[Scripts]]:
    """Return scripts in which answers that did not end by themselves have no end: the teacher did not say so."""
    surplus = {id(one): np.zeros(len(one.ids), dtype=bool) for one in (student, *teachers)}
    for row, answer in writings.answers.items():
        if answer.finished or any(one.is_cut[row] for one in (student, *teachers)):
            continue
        for one in (student, *teachers):
            start, end = int(one.starts[row]), int(one.starts[row + 1])
            surplus[id(one)][start + np.flatnonzero(one.is_target[start:end])[-1]] = True
    opened = {id(one): without(one, surplus[id(one)]) for one in (student, *teachers)}
    return opened[id(student)], [opened[id(one)] for one in teachers]


class AskingReadings(WritingReadings):
    """Also writes down every prompt alone, and finds those that leave room for an answer.

    `parts` hold examples with a completion, as for `logits`; `learned` are all training examples: those, and the ones
    that can only be asked.

    Raises:
        DatasetUnusable: nothing can be learned, or nothing is held out.
    """

    def __init__(
        self, desk: Desk, writings: Writings, teachers: Sequence[Loaded], student: Student, method: OnPolicyMethod
    ) -> None:
        if writings.form == "text":
            raise DatasetUnusable(NO_PROMPTS)
        super().__init__(desk, writings, teachers, student)
        if isinstance(writings, Answered):
            self.student, self.teachers = left_open(writings, self.student, self.teachers)
        self.has_completion: Mask = self.student.kept(np.arange(len(writings))) > 0
        names = [f"teacher '{teacher.model}'" for teacher in desk.spec.teacher_models]
        readers = [(student.tokenizer, student.model, "the student")]
        readers += [
            (required(teacher.tokenizer), teacher.model, name) for teacher, name in zip(teachers, names, strict=True)
        ]
        self.student_prompts, *self.teacher_prompts = [self._written(*reader, cut=prompt_of) for reader in readers]
        asked = np.zeros(len(writings), dtype=bool)
        asked[writings.parts.train] = method.student_share > 0
        for prompts, (tokenizer, model, _) in zip([self.student_prompts, *self.teacher_prompts], readers, strict=True):
            asked &= self._has_room(prompts, tokenizer, model, method.generation.max_new_tokens)
        self.is_asked = asked
        """True where the student may be asked: of training examples alone."""
        self.learned = np.union1d(self.parts.train, np.flatnonzero(asked))
        self._check_learned(method)

    def _has_room(
        self, prompts: Scripts, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, tokens: int
    ) -> Mask:
        shortest = 1 if self.writings.form == "messages" else len(opening_of(tokenizer)) + 1
        longest = length_for(tokenizer, model, self.desk.spec.training.max_length) - tokens
        found: Mask = (prompts.lengths >= shortest) & ~prompts.is_cut & (prompts.lengths <= longest)
        return found

    def _usable(self) -> Parts:
        """Return the parts with completions; whether they suffice is known when the prompts are."""
        has_target = self.student.kept(np.arange(len(self.writings))) > 0
        parts = self.writings.parts
        return Parts(*(rows[has_target[rows]] for rows in (parts.train, parts.validation, parts.test)))

    def _check_learned(self, method: OnPolicyMethod) -> None:
        if method.student_share > 0 and not self.is_asked.any():
            raise DatasetUnusable(
                f"no prompt leaves room for {method.generation.max_new_tokens} tokens "
                f"(method.generation.max_new_tokens) within {self.desk.spec.training.max_length} (training.max_length)"
            )
        if not len(self.learned):
            raise DatasetUnusable("nothing is left to train on")
        if not len(self.parts.held_out):
            raise DatasetUnusable("no example that is held out has a completion within training.max_length")

    @property
    def dropped(self) -> int:
        given = self.writings.parts
        whole = len(given.train) + len(given.validation) + len(given.test)
        return whole - len(self.learned) - len(self.parts.validation) - len(self.parts.test)

    @property
    def lengths(self) -> Rows:
        """Tokens of each example: with its completion, or of what it asks where it has none."""
        found: Rows = np.where(self.has_completion, self.student.lengths, self.student_prompts.lengths)
        return found

    @cached_property
    def in_both(self) -> int:
        """How many held-out prompts are asked, or learned from, in training as well."""
        return in_both(self.learned, self.parts.held_out, self.student_prompts.seen, self._look)

    def announce(self) -> None:
        """Say what is left out, what is cut, and what the student is asked."""
        event = self.desk.observer.event
        if self.writings.left_out:
            event(
                f"{self.writings.left_out:,} examples have neither prompt nor completion and are left out.", "warning"
            )
        longest = int(self.student.lengths.max())
        if self.dropped:
            event(
                f"{self.dropped:,} of {len(self.writings):,} examples are left out: their prompts are too long for "
                f"{longest} tokens to hold a completion.",
                "warning",
            )
        if self.in_both:
            event(remark(self.in_both, self.parts, "prompts"), "warning")
        if self.cut:
            event(
                f"{self.cut:,} of {len(self.parts.train):,} training completions are cut at {longest} tokens.",
                "warning",
            )
        unasked = len(self.learned) - int(self.is_asked.sum())
        if unasked and self.is_asked.any():
            event(f"{unasked:,} prompts leave no room for a new text: their completions alone are learned.", "warning")
        event(
            f"{len(self.learned):,} examples: the student is asked {int(self.is_asked.sum()):,} of them, and "
            f"{len(self.parts.train):,} have a completion, {self.kept_tokens:,} tokens in all."
        )
