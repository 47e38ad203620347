"""Where the tokens of a student and of a teacher meet that cut the same completions in other places.

Two tokens meet where both models have read the same text, and the same text goes on: the distributions from which they
are taken are then about the same continuation. Each model reads the examples through its own template, so that places
are counted from the beginning of each piece (`chats.Piece`).

Legend: N kept tokens of the student in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from core.errors import TokenizersDiffer
from worker.training.language.data import Writing, Writings
from worker.training.language.scripts import Scripts, Stretch, pieces_of, stretches
from worker.training.split import Rows

Place = tuple[int, int]
"""A piece's number in its example, and a character's in the text of the piece."""
NOWHERE = -1


@dataclass(frozen=True)
class Reader:
    """A model's tokenizer, and the examples as it wrote them down."""

    tokenizer: PreTrainedTokenizerBase
    name: str
    """For errors."""
    scripts: Scripts


@dataclass(frozen=True)
class Mates:
    """For each kept token of the student, the teacher's kept token of the same example that begins where it begins."""

    student: Scripts
    teacher: Scripts
    numbers: NDArray[np.int32]
    """Which of the example's kept tokens the teacher's is, or NOWHERE; of all examples, end to end."""

    def of(self, rows: Rows | Sequence[int]) -> Tensor:
        """Return which of the teacher's kept tokens of these examples, row by row, each of the student's meets, [N]."""
        before, found = 0, []
        for row, kept in zip(rows, self.teacher.kept(rows).tolist(), strict=True):
            numbers = self._numbers(int(row))
            found.append(np.where(numbers == NOWHERE, NOWHERE, numbers + before))
            before += kept
        return torch.from_numpy(np.concatenate(found).astype(np.int64))

    def met(self, rows: Rows | Sequence[int]) -> int:
        """Return how many kept tokens of these examples meet one of the teacher's."""
        return sum(int((self._numbers(int(row)) != NOWHERE).sum()) for row in rows)

    def _numbers(self, row: int) -> NDArray[np.int32]:
        starts = self.student.target_starts
        return self.numbers[starts[row] : starts[row + 1]]


def mates_of(writings: Writings, student: Reader, teacher: Reader) -> Mates:
    """Find where the kept tokens of a student and a teacher meet.

    Raises:
        TokenizersDiffer: one of the two does not tell which characters its tokens stand for.
    """
    for reader in (student, teacher):
        if not reader.tokenizer.is_fast:
            raise TokenizersDiffer(teacher.name, f"the tokenizer of {reader.name} tells no places of tokens in a text")
    found: list[NDArray[np.int32]] = []
    for some in writings:
        both = zip(_laid_out(some, student), _laid_out(some, teacher), strict=True)
        for row, (own, theirs) in enumerate(both, start=len(found)):
            own_at, their_at = _kept(student.scripts, row), _kept(teacher.scripts, row)
            number_of = {token: number for number, token in enumerate(their_at.tolist())}
            meets = meeting(own, theirs)
            numbers = [number_of.get(meets.get(token, NOWHERE), NOWHERE) for token in own_at.tolist()]
            found.append(np.array(numbers, dtype=np.int32))
    return Mates(student.scripts, teacher.scripts, np.concatenate(found))


def _kept(scripts: Scripts, row: int) -> NDArray[np.int64]:
    """Return where in its example each kept token stands."""
    return np.flatnonzero(scripts.is_target[scripts.starts[row] : scripts.starts[row + 1]])


@dataclass(frozen=True)
class LaidOut:
    """One example as one model reads it."""

    texts: list[str]
    """Of each piece, without what ends the assistant's turn."""
    places: list[Place | None]
    """Where each token begins; None for those that begin nowhere, such as within a character."""


def _laid_out(writings: Sequence[Writing], reader: Reader) -> list[LaidOut]:
    end = str(reader.tokenizer.eos_token) if reader.tokenizer.eos_token else ""
    found = []
    for opening, some in stretches(writings, reader.tokenizer, reader.name, pieces_of, with_spans=True):
        texts: list[str] = []
        places: list[Place | None] = [None] * len(opening)
        for number, stretch in enumerate(some):
            text = stretch.piece.text.removesuffix(end) if stretch.piece.is_learned else stretch.piece.text
            texts.append(text)
            places += [None if at is None else (number, at) for at in beginnings(stretch, len(text))]
        found.append(LaidOut(texts, places))
    return found


def beginnings(stretch: Stretch, length: int) -> list[int | None]:
    """Return the character at which each token of a piece begins: where all tokens before it end.

    So a word begins with the space before it, whether its tokenizer counts the space in or not. What stands behind
    `length` characters, or closes the piece, begins there. A token that stands for no character, or for another part
    of one that was begun before, begins nowhere.
    """
    read, found = 0, list[int | None]()
    for start, end in stretch.spans:
        begins_here = start >= read and end > read
        found.append(min(read if start < length else length, length) if begins_here else None)
        read = max(read, end)
    return found + [length] * (len(stretch.ids) - len(stretch.spans))


@dataclass(frozen=True)
class SharedText:
    """The text that two renderings of one piece have in common."""

    own: int
    """Where it begins in the student's."""
    theirs: int
    length: int
    ends_both: bool
    """Whether nothing stands behind it in either."""


def shared_text(own: str, theirs: str) -> SharedText:
    """Return what two renderings of the same text have in common, from its beginning on or up to its end.

    Templates lead a turn in with marks, spaces or an empty thought, and put marks and spaces behind it.
    """
    from_end = alike_until(own.rstrip()[::-1], theirs.rstrip()[::-1])
    if from_end and from_end >= alike_until(own.lstrip(), theirs.lstrip()):
        at, there, length = len(own.rstrip()) - from_end, len(theirs.rstrip()) - from_end, from_end
    else:
        at, there, length = len(own) - len(own.lstrip()), len(theirs) - len(theirs.lstrip()), 0
    while at and there and own[at - 1] == theirs[there - 1]:
        at, there, length = at - 1, there - 1, length + 1
    length += alike_until(own[at + length :], theirs[there + length :])
    return SharedText(at, there, length, at + length == len(own) and there + length == len(theirs))


def alike_until(one: str, other: str) -> int:
    """Return how many characters two texts have in common from their beginning."""
    differs = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differs, min(len(one), len(other)))


def meeting(own: LaidOut, theirs: LaidOut) -> dict[int, int]:
    """Return which token of the teacher's each of the student's meets, by their numbers in the example.

    What ends a turn meets what ends it where the whole turn is the same; templates end turns in their own ways.
    """
    there: dict[Place, int] = {}
    for token, place in enumerate(theirs.places):
        if place is not None:
            there.setdefault(place, token)
    shared = [shared_text(one, other) for one, other in zip(own.texts, theirs.texts, strict=False)]
    found: dict[int, int] = {}
    taken: set[Place] = set()
    for token, place in enumerate(own.places):
        if place is None or place in taken or place[0] >= len(shared):
            continue
        number, text = place[0], shared[place[0]]
        character = place[1] - text.own
        is_within = 0 <= character < text.length or (text.ends_both and character == text.length)
        mate = there.get((number, text.theirs + character))
        if is_within and mate is not None:
            found[token] = mate
            taken.add(place)
    return found
