"""Who is asked what: in turn by weight, or by name; of what is held out only as much as measuring needs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DatasetUnusable
from core.methods import SequenceMethod
from core.spec import DatasetSpec
from tests.worker.training.conftest import write_parquet
from worker.training.generation.samples import Prompt
from worker.training.language import data
from worker.training.language.answers import MEASURED, VALIDATED
from worker.training.language.data import Writings
from worker.training.language.texts.questions import in_turn, own_completions, parts_asked
from worker.training.language.texts.questions import questions_of as asked_of
from worker.training.split import Parts


def read(path: Path, **changes: Any) -> Writings:
    spec = DatasetSpec.model_validate({"id": "ds", "validation": 0.25, "test": 0.25, **changes})
    return data.read(path, spec, 0, "prompt")


def questions_of(path: Path, names: tuple[str, ...] = ("t",), **method: Any) -> list[Prompt]:
    spec = SequenceMethod.model_validate(method)
    return asked_of(spec, path, read(path), names, [1.0] * len(names))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.integers(0, 200))
def test_after_every_turn_each_has_had_its_share_to_within_one(weights: list[float], count: int) -> None:
    turns = in_turn(weights, count)
    assert len(turns) == count
    for number, weight in enumerate(weights):
        taken = np.cumsum([turn == number for turn in turns])
        due = weight / sum(weights) * np.arange(1, count + 1)
        assert (np.abs(taken - due) <= len(weights) - 1 + 1e-6).all()
    if len(weights) == 2:
        assert abs(turns.count(0) - weights[0] / sum(weights) * count) <= 1 + 1e-6


def test_all_is_asked_to_train_on_and_some_of_what_is_held_out() -> None:
    every = np.arange(3000)
    parts = Parts(every[:1000], every[1000:2000], every[2000:])
    asked = parts_asked(parts)
    counts = {part: sum(one == part for one in asked.values()) for part in ("train", "validation", "test")}
    assert counts == {"train": 1000, "validation": VALIDATED, "test": MEASURED}
    no_test = parts_asked(Parts(every[:1000], every[1000:], every[:0]))
    assert sum(part == "validation" for part in no_test.values()) == MEASURED


def test_prompts_stand_where_they_stand_in_the_data_set_with_their_answers(tmp_path: Path) -> None:
    columns = {"prompt": ["a", "", "b", None, "c", "d", "e"], "answer": [1, 2, None, 4, 5, 6, 7]}
    path = write_parquet(tmp_path / "data.parquet", columns)
    found = {
        prompt.index: (prompt.text, prompt.answer)
        for prompt in questions_of(path, filters={"verifier": {"type": "numeric"}})
    }
    assert found == {0: ("a", "1"), 2: ("b", None), 4: ("c", "5"), 5: ("d", "6"), 6: ("e", "7")}
    assert {prompt.answer for prompt in questions_of(path)} == {None}
    with pytest.raises(DatasetUnusable, match="no column 'solution'; it has prompt, answer"):
        questions_of(path, filters={"verifier": {"type": "exact", "column": "solution"}})


def test_of_a_chat_the_last_answer_is_its_own_completion_and_what_came_before_is_asked(tmp_path: Path) -> None:
    user, assistant = {"role": "user", "content": "q"}, {"role": "assistant", "content": "own"}
    chats = [[user, assistant], [user, assistant, user], [user, assistant, user, assistant], [assistant], [user]]
    path = write_parquet(tmp_path / "chats.parquet", {"messages": [json.dumps(chat) for chat in chats]})
    found = {prompt.index: len(prompt.messages or ()) for prompt in questions_of(path)}
    assert found == {0: 1, 1: 3, 2: 3, 4: 1}
    assert own_completions(read(path)).said(range(5)) == {0: "own", 2: "own"}


def test_own_completions_keep_their_parts(tmp_path: Path) -> None:
    completions = ["x", None, "y", " ", "z", "w", None, "v"]
    parts = ["train", "train", "test", "train", "test", "train", "validation", "validation"]
    columns = {"prompt": list("abcdefgh"), "completion": completions, "part": parts}
    path = write_parquet(tmp_path / "data.parquet", columns)
    own = own_completions(read(path, columns={"split": "part"})).writings
    said = {name: [int(own.rows[row]) for row in rows] for name, rows in vars(own.parts).items()}
    assert said == {"train": [0, 5], "validation": [7], "test": [2, 4]}


def test_teachers_take_turns_or_are_named(tmp_path: Path) -> None:
    columns = {"prompt": list("abcdef"), "who": ["x", "y", "x", "x", "y", "y"]}
    path = write_parquet(tmp_path / "data.parquet", columns)
    assert {prompt.teacher for prompt in questions_of(path)} == {None}
    assert [prompt.teacher for prompt in questions_of(path, ("x", "y"))] == ["x", "y"] * 3
    assert [prompt.teacher for prompt in questions_of(path, ("x", "y"), route="who")] == columns["who"]
    with pytest.raises(DatasetUnusable, match=r"example 2 names teacher 'y' in the column of method.route"):
        questions_of(path, ("x", "z"), route="who")
