"""What a language model's data set holds, in each of its forms, and what is refused in words."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.chats import messages_of
from core.errors import DatasetUnusable
from core.spec import DatasetSpec
from tests.worker.training.conftest import write_parquet
from worker.training.language import data
from worker.training.language.data import Needs, Writing, Writings

ASKED = {"role": "user", "content": "one?"}
ANSWERED = {"role": "assistant", "content": "two"}


def read(folder: Path, cells: dict[str, list[Any]], needs: Needs = "completion", **spec: Any) -> Writings:
    named = DatasetSpec.model_validate({"id": "ds", "validation": 0.2, "test": 0.2, **spec})
    return data.read(write_parquet(folder / "data.parquet", cells), named, 0, needs)


def all_of(writings: Writings) -> list[Writing]:
    return [one for some in writings for one in some]


def test_prompts_come_with_their_completions(tmp_path: Path) -> None:
    found = read(tmp_path, {"prompt": ["a", None, "c", "d"], "completion": ["A", "B", "", "D"]})
    assert all_of(found) == [Writing("a", "A"), Writing("", "B"), Writing("d", "D")]
    assert (len(found), found.left_out) == (3, 1)


def test_where_a_teacher_writes_prompts_are_enough(tmp_path: Path) -> None:
    found = read(tmp_path, {"prompt": ["a", "", "c", "d"]}, "prompt")
    assert [one.prompt for one in all_of(found)] == ["a", "c", "d"]


def test_a_chat_without_an_answer_has_nothing_to_learn(tmp_path: Path) -> None:
    chats = [[ASKED, ANSWERED], [ASKED], [ASKED, ANSWERED, ASKED], None, [ASKED, ANSWERED], [ASKED]]
    told = {"messages": [json.dumps(chat) if chat else None for chat in chats]}
    assert read(tmp_path, told).rows.tolist() == [0, 2, 4]
    assert read(tmp_path, told, "prompt").rows.tolist() == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"question": ["a"]}, "has no column 'messages', 'prompt' or 'text'; it has question"),
        ({"prompt": ["a"]}, "has prompts and no column 'completion'"),
        ({"text": ["", " ", None]}, "no example has a completion"),
        ({"text": ["a"]}, "nothing is held out"),
        ({"messages": ["{}", "[]"]}, "example 1, column 'messages': messages are no list"),
        ({"messages": [json.dumps([ASKED]), json.dumps([{"role": "bot", "content": ""}])]}, "example 2.*role 'bot'"),
    ],
)
def test_what_cannot_be_learned_from_is_said(tmp_path: Path, columns: dict[str, list[Any]], why: str) -> None:
    with pytest.raises(DatasetUnusable, match=why):
        read(tmp_path, columns)


def test_parts_are_drawn_by_the_seed_or_named_by_a_column(tmp_path: Path) -> None:
    texts = {"text": [f"text {place}" for place in range(20)]}
    parts = read(tmp_path, texts).parts
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (12, 4, 4)
    names = {"part": ["train"] * 15 + ["test"] * 5}
    named = read(tmp_path, {**texts, **names}, columns={"split": "part"}).parts
    assert named.test.tolist() == [15, 16, 17, 18, 19]


def test_fewer_examples_are_drawn_and_stay_in_order(tmp_path: Path) -> None:
    found = read(tmp_path, {"text": [f"{place}" for place in range(20)]}, max_examples=6)
    texts = [int(one.completion or "") for one in all_of(found)]
    assert len(texts) == 6
    assert texts == sorted(texts)


@pytest.mark.parametrize("cell", [[ASKED, ANSWERED], json.dumps([ASKED, ANSWERED])])
def test_a_chat_may_be_a_list_or_its_json(cell: Any) -> None:
    assert messages_of(cell) == [ASKED, ANSWERED]


@pytest.mark.parametrize("cell", [None, 5, "{", "[]", [], [1], [{}], [{**ASKED, "content": [1]}], [{"role": "user"}]])
def test_what_is_no_chat_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"message|Expecting"):
        messages_of(cell)
