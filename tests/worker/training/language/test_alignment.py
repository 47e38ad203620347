"""Tokens of two models meet only where both have read the same text, and the same text goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from core.errors import TokenizersDiffer
from core.spec import DatasetSpec
from tests.worker.training.conftest import write_parquet
from tests.worker.training.language.conftest import TEMPLATE, bpe, chats, counting
from worker.training.language import data
from worker.training.language.alignment import (
    NOWHERE,
    LaidOut,
    Mates,
    Reader,
    beginnings,
    mates_of,
    meeting,
    shared_text,
)
from worker.training.language.chats import Piece
from worker.training.language.data import Writings
from worker.training.language.scripts import Stretch, write_down

COARSE = bpe([*counting(50)["prompt"], *counting(50)["completion"]])
FINE = bpe(["three four five and some other words"], template="{{ '>> ' }}" + TEMPLATE.replace("<|start|>", "[s]"))
texts = st.text("onetwthr fiv\u00e9\ud55c\n", min_size=1, max_size=30).filter(str.strip)


def read(folder: Path, columns: dict[str, list[str]]) -> Writings:
    folder.mkdir(parents=True, exist_ok=True)
    return data.read(write_parquet(folder / "data.parquet", columns), DatasetSpec.model_validate({"id": "d"}), 0)


def reader(
    writings: Writings, tokenizer: PreTrainedTokenizerFast, folder: Path, most: int = 200, **given: Any
) -> Reader:
    on_prompt = given.get("on_prompt", False)
    scripts = write_down(writings, tokenizer, "a model", most, on_prompt, folder)
    return Reader(tokenizer, "a model", scripts)


def both(folder: Path, columns: dict[str, list[str]], **given: Any) -> tuple[Mates, Writings]:
    writings = read(folder, columns)
    own, theirs = reader(writings, COARSE, folder / "own", **given), reader(writings, FINE, folder / "theirs", **given)
    return mates_of(writings, own, theirs), writings


def met(mates: Mates, row: int) -> list[tuple[str, str]]:
    """What the student still has to say at each token that meets one, and what the teacher has."""
    own, theirs = mates.student.targets(row), mates.teacher.targets(row)
    starts = mates.student.target_starts
    numbers = mates.numbers[starts[row] : starts[row + 1]]
    return [
        (COARSE.decode(own[place:]), FINE.decode(theirs[number:]))
        for place, number in enumerate(numbers)
        if number != NOWHERE
    ]


@pytest.mark.parametrize("columns", [counting(30), chats(30)], ids=["prompts", "chats"])
def test_where_two_tokens_meet_both_models_have_the_same_left_to_say(
    tmp_path: Path, columns: dict[str, list[str]]
) -> None:
    mates, writings = both(tmp_path, columns)
    for row in range(len(writings)):
        found = met(mates, row)
        assert found, "the first token and the one that ends are met at least"
        assert all(left == right for left, right in found)


@settings(max_examples=40)
@given(texts)
def test_no_token_is_met_twice_and_all_that_could_are(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    mates, _ = both(tmp_path_factory.mktemp("texts"), {"prompt": ["Say:"] * 3, "completion": [text] * 3})
    numbers = mates.numbers[: mates.student.target_starts[1]]
    paired = numbers[numbers != NOWHERE]
    assert len(set(paired.tolist())) == len(paired)
    assert (np.diff(paired) > 0).all()
    assert all(left == right for left, right in met(mates, 0))
    assert paired[-1] == len(mates.teacher.targets(0)) - 1, "what ends the text is met"
    own, theirs = (
        {text_before(tokenizer, ids, place) for place in range(len(ids)) if is_whole(tokenizer, ids, place)}
        for tokenizer, ids in ((COARSE, mates.student.targets(0)), (FINE, mates.teacher.targets(0)))
    )
    assert len(paired) == len(own & theirs)


def text_before(tokenizer: PreTrainedTokenizerFast, ids: Any, place: int) -> str:
    return str(tokenizer.decode(ids[:place]))


def is_whole(tokenizer: PreTrainedTokenizerFast, ids: Any, place: int) -> bool:
    """Whether no character is torn before this token."""
    return "\ufffd" not in text_before(tokenizer, ids, place)


def test_a_space_belongs_to_the_word_after_it_whoever_counts_it_in() -> None:
    text, plain, trimmed = " three four", bpe([" three four"] * 9), bpe([" three four"] * 9)
    trimmed.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    made = []
    for tokenizer in (plain, trimmed):
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        stretch = Stretch(Piece(text, is_learned=True), found["input_ids"], found["offset_mapping"])
        made.append((found["offset_mapping"], beginnings(stretch, len(text))))
    (spans, own), (trimmed_spans, theirs) = made
    assert spans != trimmed_spans
    assert own == theirs == [0, 6]


@pytest.mark.parametrize(
    ("spans", "begin"),
    [
        ([(0, 3), (3, 5)], [0, 3, 5]),
        ([(0, 1), (0, 1), (1, 2)], [0, None, 1, 5]),
        ([(0, 0), (0, 4)], [None, 0, 5]),
        ([(1, 4), (4, 5)], [0, 4, 5]),
        ([(0, 5), (5, 9)], [0, 5, 5]),
    ],
    ids=["words", "bytes of one character", "a mark before the text", "a trimmed space", "what ends it is text"],
)
def test_tokens_begin_where_those_before_them_end(spans: list[tuple[int, int]], begin: list[int | None]) -> None:
    stretch = Stretch(Piece("12345", is_learned=True, is_closed=True), [7] * (len(spans) + 1), spans)
    assert beginnings(stretch, 5) == begin


def test_turns_that_go_on_otherwise_meet_no_more_and_ends_meet_where_all_is_the_same() -> None:
    own = LaidOut(["", "12345"], [(1, 0), (1, 2), (1, 5)])
    assert meeting(own, own) == {0: 0, 1: 1, 2: 2}
    assert meeting(own, LaidOut(["x", "123"], [(0, 0), (1, 0), (1, 2), (1, 3)])) == {0: 1, 1: 2}
    assert meeting(own, LaidOut(["", "abc"], [(1, 0), (1, 2)])) == {}


@pytest.mark.parametrize(
    ("own", "theirs", "common", "ends"),
    [
        (" one two", " one two", " one two", True),
        ("one two", " one two", "one two", True),
        ("one two", "<think>\n\n</think>\n\none two", "one two", True),
        ("[assistant] one", "> one", " one", True),
        ("one two\n", "one two", "one two", False),
        ("one two<end_of_turn>", "one two", "one two", False),
        (" one two<turn>", "one two</turn>", "one two<", False),
        ("one", "two", "", False),
        ("", "one", "", False),
        ("", "", "", True),
    ],
)
def test_the_text_that_two_templates_have_shared_text_is_found(own: str, theirs: str, common: str, ends: bool) -> None:
    for one, other in ((own, theirs), (theirs, own)):
        found = shared_text(one, other)
        assert one[found.own :][: found.length] == other[found.theirs :][: found.length] == common
        assert found.ends_both == ends


def test_prompts_that_are_learned_meet_as_well(tmp_path: Path) -> None:
    alone, _ = both(tmp_path / "completions", counting(10))
    prompts, _ = both(tmp_path / "prompts", counting(10), on_prompt=True)
    assert prompts.met(range(10)) > alone.met(range(10))


def test_what_is_cut_away_for_one_is_met_by_nothing_of_the_other(tmp_path: Path) -> None:
    whole, writings = both(tmp_path / "whole", counting(20))
    longest = int(whole.teacher.lengths.max()) - 3
    cut, _ = both(tmp_path / "cut", counting(20), most=longest)
    rows = range(len(writings))
    assert 0 < cut.met(rows) < whole.met(rows)
    for row in rows:
        assert (cut.of([row]) < cut.teacher.kept([row])[0]).all()


def test_a_batch_counts_the_teachers_tokens_through(tmp_path: Path) -> None:
    mates, _ = both(tmp_path, counting(20))
    rows = [7, 2, 11]
    script = mates.teacher.script(rows)
    alone = [mates.of([row]) for row in rows]
    together, before = mates.of(rows), 0
    for row, own in zip(rows, alone, strict=True):
        part, together = together[: len(own)], together[len(own) :]
        assert part.tolist() == [NOWHERE if number == NOWHERE else number + before for number in own.tolist()]
        before += int(mates.teacher.kept([row])[0])
    assert before == len(script["targets"])


def test_a_tokenizer_that_tells_no_places_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(TokenizersDiffer, match="tells no places of tokens") as refused:
        both(tmp_path, counting(3))
    assert '{"type": "sequence"}' in refused.value.hint
