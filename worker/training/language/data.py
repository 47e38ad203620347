"""The data set of a language model: chats, prompts with completions, or plain texts, that stay on disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.chats import Message, messages_of
from core.errors import DatasetUnusable
from core.spec import ColumnsSpec, DatasetSpec, Form
from worker.training.data import READ_ROWS
from worker.training.split import Parts, Rows, drawn, named

Needs = Literal["completion", "prompt", "either"]
"""What an example must have: a text to learn, something to ask, or one of the two."""


@dataclass(frozen=True)
class Writing:
    """One example: a chat, or a completion after a prompt. A plain text completes an empty prompt.

    Where there are both messages and a completion, the completion is the assistant's next turn, and learned alone.
    """

    prompt: str = ""
    completion: str | None = None
    messages: tuple[Message, ...] | None = None

    def has_completion(self) -> bool:
        if self.messages is not None and self.completion is None:
            return any(message["role"] == "assistant" for message in self.messages)
        return bool(self.completion and self.completion.strip())

    def has_prompt(self) -> bool:
        asked = self.answered()
        if asked.messages is not None:
            return bool(asked.messages) and asked.messages[-1]["role"] in ("user", "tool")
        return bool(self.prompt.strip())

    def has(self, needs: Needs) -> bool:
        is_learned, is_asked = needs != "prompt", needs != "completion"
        return (is_learned and self.has_completion()) or (is_asked and self.has_prompt())

    def answered(self) -> "Writing":
        """Return a chat whose last turn is the assistant's as what came before, with that turn as its completion."""
        if self.messages is None or self.completion is not None or self.messages[-1]["role"] != "assistant":
            return self
        return Writing(messages=self.messages[:-1], completion=self.messages[-1]["content"])

    def as_chat(self) -> "Writing":
        """Return the example with a plain prompt as a user's message."""
        if self.messages is not None:
            return self.answered()
        return Writing(messages=({"role": "user", "content": self.prompt},), completion=self.completion)


def as_it_is(writing: Writing) -> Writing:
    return writing


@dataclass(frozen=True)
class Writings:
    """All examples that can be learned from, in the order of the file."""

    path: Path
    form: Form
    columns: ColumnsSpec
    rows: Rows
    """Where each example stands in the file."""
    parts: Parts
    left_out: int
    """How many examples lack what is needed."""
    view: Callable[[Writing], Writing] = field(default=as_it_is, kw_only=True)
    """How each example is seen, such as `Writing.as_chat`."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[list[Writing]]:
        """Yield the examples in order, some thousands at a time."""
        wanted = np.zeros(pq.read_metadata(self.path).num_rows, dtype=bool)
        wanted[self.rows] = True
        for start, writings in _read(self.path, self.form, self.columns):
            kept = [self.view(one) for place, one in enumerate(writings) if wanted[start + place]]
            if kept:
                yield kept


def read(path: Path, spec: DatasetSpec, seed: int, needs: Needs = "completion") -> Writings:
    """Read what training needs to know of a data set; the texts themselves stay in the file.

    Examples that lack what is needed are left out. Where some have a completion, all that is held out has one.

    Raises:
        DatasetUnusable: a column is missing, a chat is none, or what is left cannot be learned from.
    """
    columns = spec.columns
    file = pq.ParquetFile(path, memory_map=True)
    present = file.schema_arrow.names
    form = _form(columns, present, needs)
    usable = [
        (start + place, needs != "prompt" and one.has_completion())
        for start, writings in _read(path, form, columns)
        for place, one in enumerate(writings)
        if one.has(needs)
    ]
    rows = np.array([row for row, _ in usable], dtype=np.int64)
    is_complete = np.zeros(file.metadata.num_rows, dtype=bool)
    is_complete[[row for row, complete in usable if complete]] = True
    left_out = file.metadata.num_rows - len(rows)
    if spec.max_examples is not None and spec.max_examples < len(rows):
        rows = np.sort(np.random.default_rng([seed, 1]).permutation(rows)[: spec.max_examples])
    if not len(rows):
        lacking = "prompt or completion" if needs == "either" else needs
        raise DatasetUnusable(f"no example has a {lacking} to learn from")
    if columns.split is not None:
        parts = named(file.read([columns.split]).column(columns.split).take(pa.array(rows)).to_pylist())
    else:
        parts = drawn(is_complete[rows].astype(np.int64) - 1, spec.validation, spec.test, seed)
    check_parts(parts)
    return Writings(path, form, columns, rows, parts, left_out)


def check_parts(parts: Parts) -> None:
    """Raise DatasetUnusable where nothing is left to train on or to measure with."""
    if not len(parts.train):
        raise DatasetUnusable("nothing is left to train on after validation and test are taken away")
    if not len(parts.held_out):
        raise DatasetUnusable("nothing is held out: give dataset.test or dataset.validation a share, or a split column")


def _form(columns: ColumnsSpec, present: list[str], needs: Needs) -> Form:
    form = columns.form_of(present)
    if form is None:
        wanted = f"'{columns.messages}', '{columns.prompt}' or '{columns.text}'"
        raise DatasetUnusable(f"the data set has no column {wanted}; it has {', '.join(present)}")
    if form == "prompt" and needs == "completion" and columns.completion not in present:
        raise DatasetUnusable(
            f"the data set has prompts and no column '{columns.completion}': method logits learns from completions"
        )
    if columns.split is not None and columns.split not in present:
        raise DatasetUnusable(f"the data set has no column '{columns.split}'; it has {', '.join(present)}")
    return form


def _read(path: Path, form: Form, columns: ColumnsSpec) -> Iterator[tuple[int, list[Writing]]]:
    """Yield where some examples start in the file, and them."""
    file = pq.ParquetFile(path, memory_map=True)
    names = [columns.prompt, columns.completion] if form == "prompt" else [getattr(columns, form)]
    names = [name for name in names if name in file.schema_arrow.names]
    start = 0
    for batch in file.iter_batches(READ_ROWS, columns=names):
        lines = batch.to_pylist()
        yield start, [_writing(form, columns, line, start + place) for place, line in enumerate(lines)]
        start += len(lines)


def _writing(form: Form, columns: ColumnsSpec, line: dict[str, Any], row: int) -> Writing:
    if form == "prompt":
        return Writing(_text(line[columns.prompt]), _text(line.get(columns.completion)))
    if form == "text":
        return Writing("", _text(line[columns.text]))
    assert columns.messages is not None
    cell = line[columns.messages]
    if cell is None:
        return Writing("", None)
    try:
        return Writing(messages=tuple(messages_of(cell)))
    except ValueError as error:
        raise DatasetUnusable(f"example {row + 1}, column '{columns.messages}': {error}") from error


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)
