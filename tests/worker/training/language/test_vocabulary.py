"""Logits are compared only where teacher and student speak of the same tokens."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import TokenizersDiffer
from core.vocabulary import difference
from tests.worker.training.conftest import Notebook, write_parquet
from tests.worker.training.language.conftest import TEMPLATE, VOCABULARY, WritingLab, bpe, chats, counting, llama, saved

words = st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=8)


@given(words, st.integers(0, 8))
def test_one_may_know_more_than_the_other(some: list[str], known: int) -> None:
    whole = {word: place for place, word in enumerate(some)}
    less = dict(list(whole.items())[:known])
    assert difference(whole, less) is None
    assert difference(less, whole) is None


@given(words.filter(lambda some: len(some) >= 2))
def test_two_words_that_change_places_are_found_either_way(some: list[str]) -> None:
    own = {word: place for place, word in enumerate(some)}
    swapped = {**own, some[0]: 1, some[1]: 0}
    for one, other in ((own, swapped), (swapped, own)):
        said = difference(one, other)
        assert said is not None
        assert f"'{some[0]}' has id" in said or f"'{some[1]}' has id" in said


def test_an_id_that_means_another_token_is_found() -> None:
    assert difference({"a": 0, "x": 1}, {"a": 0, "b": 1}) == "id 1 is 'x', and 'b' for the teacher"


def test_a_student_of_another_tokenizer_is_refused_with_the_way_named(lab: WritingLab, tmp_path: Path) -> None:
    other = bpe(["other words altogether, and other merges"])
    student = saved(tmp_path / "other", llama(), other)
    with pytest.raises(TokenizersDiffer, match="the student's tokens are not those of teacher 'teacher'") as refused:
        lab.run(student={"model": "other"}, student_folder=student)
    assert '{"type": "sequence"}' in refused.value.hint


def test_padded_vocabularies_of_one_family_meet_by_token_id(lab: WritingLab, tokenizer: Any, tmp_path: Path) -> None:
    padded = saved(tmp_path / "padded", llama(VOCABULARY + 64, layers=2, tied=False), tokenizer)
    notebook = Notebook()
    _, report = lab.run(notebook, student={"model": "padded"}, student_folder=padded, method={"top_k": 16})
    assert report.student_after.kl_to_teacher < report.student_before.kl_to_teacher
    _, report = lab.run(folder="turned", teachers=(padded,), student={"model": "plain"}, student_folder=lab.teacher)
    assert report.student_after.kl_to_teacher < report.student_before.kl_to_teacher


def test_templates_may_differ_and_completions_meet(lab: WritingLab, tokenizer: Any, tmp_path: Path) -> None:
    """The student's prompts are longer than the teacher's; what both read of a completion is learned."""
    told = counting(50)
    greeting = "{{ 'a long greeting comes before everything ' }}" + TEMPLATE
    other = bpe([*told["prompt"], *told["completion"]], template=greeting)
    assert difference(tokenizer.get_vocab(), other.get_vocab()) is None
    student = saved(tmp_path / "greeting", llama(layers=2), other)
    data = tmp_path / "chats.parquet"
    write_parquet(data, chats(60))
    short = {"max_steps": 2, "max_length": 62}
    _, whole = lab.run(folder="whole", data=data, training={**short, "max_length": 128}, evaluation={"baseline": False})
    _, report = lab.run(
        data=data, student={"model": "greeting"}, student_folder=student, training=short, evaluation={"baseline": False}
    )
    assert 0 < report.examples.kept_tokens < whole.examples.kept_tokens
    assert report.teacher.kl_to_teacher == 0
