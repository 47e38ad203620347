"""What the teachers are asked, and who of them: the prompts of a data set, its right answers, its own completions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DatasetUnusable
from core.methods import SequenceMethod
from worker.training.generation.samples import Part, Prompt
from worker.training.language.answers import MEASURED, VALIDATED
from worker.training.language.data import Writings
from worker.training.language.samples import spread
from worker.training.split import Parts


def questions_of(
    method: SequenceMethod, path: Path, writings: Writings, names: Sequence[str], weights: Sequence[float]
) -> list[Prompt]:
    """Return what is asked: every prompt to train on, and some of those that are held out, each by one teacher.

    Args:
        writings: those examples of the data set at `path` that have a prompt.
        names: the teachers', as the spec says them; they write in turn by `weights`, or `method.route` says who.

    Raises:
        DatasetUnusable: a column is missing, or an example names a teacher that the job has not.
    """
    part_of = parts_asked(writings.parts)
    answers = _cells(path, writings, _answer_column(method))
    routes = None if method.route is None else _cells(path, writings, method.route)
    asked: list[Prompt] = []
    number = -1
    for some in writings:
        for writing in some:
            number += 1
            if (part := part_of.get(number)) is None:
                continue
            question = writing.answered()
            asked.append(
                Prompt(
                    index=int(writings.rows[number]),
                    text=question.prompt if question.messages is None else None,
                    messages=question.messages,
                    answer=answers[number] if answers is not None else None,
                    part=part,
                    teacher=_named(routes[number], names, int(writings.rows[number])) if routes is not None else None,
                )
            )
    if routes is not None or len(names) == 1:
        return asked
    turns = in_turn(weights, len(asked))
    return [replace(prompt, teacher=names[turn]) for prompt, turn in zip(asked, turns, strict=True)]


def parts_asked(parts: Parts) -> dict[int, Part]:
    """Return which examples are asked, and what their texts are for."""
    validated = spread(parts.validation, VALIDATED if len(parts.test) else MEASURED)
    asked: dict[int, Part] = dict.fromkeys(parts.train.tolist(), "train")
    asked |= dict.fromkeys(validated.tolist(), "validation")
    asked |= dict.fromkeys(spread(parts.test, MEASURED).tolist(), "test")
    return asked


def in_turn(weights: Sequence[float], count: int) -> list[int]:
    """Return whose turn each of `count` turns is, so that after each of them all have had their shares, to within one.

    The next is whoever lacks most (the quota method of apportionment).
    """
    shares = [weight / sum(weights) for weight in weights]
    taken = [0] * len(weights)
    turns = []
    for turn in range(1, count + 1):
        lacking = max(range(len(weights)), key=lambda number: shares[number] * turn - taken[number])
        taken[lacking] += 1
        turns.append(lacking)
    return turns


@dataclass(frozen=True)
class Own:
    """The completions that a data set has itself: what a baseline learns from."""

    writings: Writings

    def said(self, wanted: Collection[int]) -> dict[int, str]:
        """Return the completions of some examples, by their places in the data set."""
        rows = iter(self.writings.rows.tolist())
        each = ((next(rows), one.answered().completion or "") for some in self.writings for one in some)
        return {row: completion for row, completion in each if row in wanted}


def own_completions(writings: Writings) -> Own:
    """Return those examples that have a prompt and a completion of their own."""
    flags = [one.answered().completion for some in writings for one in some]
    has_own = np.array([bool(completion and completion.strip()) for completion in flags], dtype=bool)
    place = np.cumsum(has_own) - 1
    parts = writings.parts
    left = Parts(*(place[rows[has_own[rows]]] for rows in (parts.train, parts.validation, parts.test)))
    return Own(replace(writings, rows=writings.rows[has_own], parts=left))


def _answer_column(method: SequenceMethod) -> str | None:
    verifier = method.filters.verifier
    return None if verifier is None or verifier.type == "json_schema" else verifier.column


def _cells(path: Path, writings: Writings, column: str | None) -> list[str | None] | None:
    """Return the cells of a column as text, one per usable example; None where no column is asked for."""
    if column is None:
        return None
    present = pq.read_schema(path).names
    if column not in present:
        raise DatasetUnusable(f"the data set has no column '{column}'; it has {', '.join(present)}")
    cells: list[Any] = pq.read_table(path, columns=[column]).column(column).take(pa.array(writings.rows)).to_pylist()
    return [None if cell is None else str(cell) for cell in cells]


def _named(name: str | None, names: Sequence[str], row: int) -> str:
    if name is None or name not in names:
        known = ", ".join(f"'{one}'" for one in names)
        said = "no teacher" if name is None else f"teacher '{name}'"
        raise DatasetUnusable(f"example {row + 1} names {said} in the column of method.route; the job has {known}")
    return name
