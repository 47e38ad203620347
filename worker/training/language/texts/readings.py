"""The kept texts as each model reads them, and whether what the teachers say of them can be compared."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.errors import DatasetUnusable, TokenizersDiffer
from core.spec import ColumnsSpec, DatasetSpec
from worker.training.desk import Desk
from worker.training.language import data
from worker.training.language.data import Writing, Writings, check_parts
from worker.training.language.scripts import Scripts, write_down
from worker.training.language.vocabulary import aligned, check_same_tokens
from worker.training.observer import stop_if_asked
from worker.training.overlap import in_both, remark
from worker.training.split import Parts, Rows
from worker.training.students import Student
from worker.training.tokens import identity_of, length_for

SHORTEST = "."
"""What stands for a text before there is one."""


@dataclass(frozen=True)
class Reader:
    """A model as one that reads texts, its tokenizer, and whether it reads plain prompts as a user's messages."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    """For errors."""
    is_chat: bool


def reader_of(student: Student, is_chat: bool) -> Reader:
    """Return the student as a reader. What was asked as a message it reads as one, where it has a chat template."""
    has_template = student.tokenizer.chat_template is not None
    return Reader(student.model, student.tokenizer, "the student", is_chat and has_template)


class Scribe:
    """Writes a data set down as token ids, once for all models that read alike."""

    def __init__(self, desk: Desk, writings: Writings, room: str) -> None:
        self.desk, self.writings, self.folder = desk, writings, desk.folder / "cache" / room
        self._kept: dict[tuple[str, int, bool], Scripts] = {}

    def scripts(self, reader: Reader) -> Scripts:
        """Return the examples as a model reads them; of a chat the last turn alone is learned.

        Raises:
            ChatTemplateUnusable: there are chats, and the model cannot read them.
        """
        stop_if_asked(self.desk.observer)
        self.desk.journey.tell()
        training, tokenizer = self.desk.spec.training, reader.tokenizer
        length = length_for(tokenizer, reader.model, training.max_length)
        identity = f"{identity_of(tokenizer)} {tokenizer.chat_template} {tokenizer.eos_token_id}"
        key = (identity, length, reader.is_chat)
        if key not in self._kept:
            before, chosen = self.writings.view, Writing.as_chat if reader.is_chat else Writing.answered
            seen = replace(self.writings, view=lambda one: chosen(before(one)))
            folder = self.folder / str(len(self._kept))
            self._kept[key] = write_down(seen, tokenizer, reader.name, length, training.train_on_prompt, folder)
        return self._kept[key]


@dataclass(frozen=True)
class TextReadings:
    """The kept texts. Rows of `parts` are texts; of a held-out prompt there is one text at most."""

    parts: Parts
    student: Scripts
    teachers: list[Scripts]
    why_incomparable: str | None
    """Why the teachers' logits cannot be laid beside the student's; None where they can."""
    dropped: int
    prompts: Rows
    """Where in the data set each text's prompt stands."""
    samples: Rows
    """Which of its prompt's samples each text is."""
    asked: Sequence[bytes]
    """What tells each text's prompt from other prompts."""

    @property
    def cut(self) -> int:
        return int(self.student.is_cut[self.parts.train].sum())

    @cached_property
    def in_both(self) -> int:
        """How many held-out prompts were asked in training as well, whatever the teacher wrote after them."""
        return in_both(self.parts.train, self.parts.held_out, self.asked.__getitem__, lambda: None)

    @property
    def kept_tokens(self) -> int:
        return int(self.student.kept(self.parts.train).sum())


def read_texts(desk: Desk, kept: Path, student: Reader, teachers: Sequence[Reader]) -> TextReadings:
    """Read what was kept, as the student and every teacher read it.

    Raises:
        DatasetUnusable: nothing is left within max_length.
    """
    has_prompts = "prompt" in pq.read_schema(kept).names
    columns = ColumnsSpec(split="split", messages=None if has_prompts else "messages")
    writings = data.read(kept, DatasetSpec(id=desk.spec.dataset.id, columns=columns), desk.spec.training.seed)
    scribe = Scribe(desk, writings, "texts")
    own, theirs = scribe.scripts(student), [scribe.scripts(teacher) for teacher in teachers]
    why = None if teachers else "the teacher's weights are not here"
    try:
        for teacher in teachers:
            check_same_tokens(student.tokenizer, teacher.tokenizer, teacher.name)
        own, theirs = aligned(own, theirs, [teacher.name for teacher in teachers])
    except TokenizersDiffer as difference:
        why = str(difference)
    parts = _with_targets(writings.parts, own, desk.spec.training.max_length)
    keys = pq.read_table(kept, columns=["prompt_index", "sample_index"])
    prompts, samples = (column.to_numpy()[writings.rows] for column in keys.columns)
    once = Parts(parts.train, *(_first_of_each(prompts, rows) for rows in (parts.validation, parts.test)))
    left = sum(len(rows) for rows in (parts.train, parts.validation, parts.test))
    asked = _asked(kept, writings.rows)
    return TextReadings(once, own, theirs, why, len(writings) - left, prompts, samples, asked)


def _asked(kept: Path, rows: Rows) -> list[bytes]:
    """Return what tells the prompt of each of these rows from others: a plain one, or the turns before the last."""
    has_prompts = "prompt" in pq.read_schema(kept).names
    name = "prompt" if has_prompts else "messages"
    cells = pq.read_table(kept, columns=[name]).column(name).take(pa.array(rows)).to_pylist()
    prompts = cells if has_prompts else [json.loads(cell)[:-1] for cell in cells]
    return [blake2b(repr(prompt).encode(), digest_size=16).digest() for prompt in prompts]


def _with_targets(parts: Parts, scripts: Scripts, longest: int) -> Parts:
    """Return the parts without texts of which nothing is left."""
    has_target = scripts.kept(np.arange(len(scripts.starts) - 1)) > 0
    if not has_target[parts.train].any():
        raise DatasetUnusable(
            f"all {len(parts.train):,} texts are cut away: every prompt alone has {longest} tokens or more "
            "(training.max_length)"
        )
    left = Parts(*(rows[has_target[rows]] for rows in (parts.train, parts.validation, parts.test)))
    check_parts(left)
    return left


def _first_of_each(prompts: Rows, rows: Rows) -> Rows:
    """Return the first text of each prompt, so that each prompt counts once."""
    _, first = np.unique(prompts[rows], return_index=True)
    return np.sort(rows[first])


def announce(desk: Desk, readings: TextReadings) -> None:
    """Say what is left out, what is cut and what cannot be compared."""
    event = desk.observer.event
    longest = desk.spec.training.max_length
    if readings.dropped:
        event(f"{readings.dropped:,} texts are left out: their prompts alone reach {longest} tokens.", "warning")
    if readings.in_both:
        event(remark(readings.in_both, readings.parts, "prompts"), "warning")
    whole = len(readings.parts.train)
    if readings.cut:
        event(f"{readings.cut:,} of {whole:,} texts are cut at {longest} tokens.", "warning")
    event(f"{readings.kept_tokens:,} tokens of {whole:,} texts are learned in an epoch.")
    if readings.why_incomparable is not None:
        event(f"KL to the teacher and agreement are not measured: {readings.why_incomparable}.")


def check_room(desk: Desk, writings: Writings, student: Reader) -> None:
    """Check, before anything is written, that the student can read the prompts and that one leaves room for a text.

    Raises:
        ChatTemplateUnusable: there are chats, and the student cannot read them.
        DatasetUnusable: every prompt alone fills max_length.
    """
    with_one_token = replace(writings, view=lambda one: replace(one.answered(), completion=SHORTEST))
    scripts = Scribe(desk, with_one_token, "prompts").scripts(student)
    _with_targets(writings.parts, scripts, desk.spec.training.max_length)
