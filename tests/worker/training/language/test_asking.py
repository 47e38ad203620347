"""What a student may be asked: the prompts as they stand before the data set's completions, where there is room."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from core.errors import DatasetUnusable
from tests.worker.training.conftest import Notebook, write_parquet
from tests.worker.training.language.conftest import llama, spec_of
from worker.training.desk import Desk
from worker.training.language import data
from worker.training.language.asking import AskingReadings
from worker.training.models import Loaded
from worker.training.students import Student

TURNS = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


def readings_of(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    columns: dict[str, list[Any]],
    teachers: PreTrainedTokenizerFast | None = None,
    **changes: Any,
) -> tuple[AskingReadings, Notebook]:
    observer = Notebook()
    folder.mkdir(exist_ok=True)
    method = {"type": "on_policy", "generation": {"max_new_tokens": 8}, **changes.pop("method", {})}
    spec = spec_of(**{"method": method, "alpha": 1.0, "training": {"max_length": 64}, **changes})
    desk = Desk(spec, folder / "job", observer)
    path = write_parquet(folder / "data.parquet", columns)
    writings = data.read(path, spec.dataset, 42, "either")
    model = llama(layers=1)
    assert spec.method.type == "on_policy"
    loaded = [Loaded(model, teachers or tokenizer, frozenset())]
    readings = AskingReadings(desk, writings, loaded, Student(model, tokenizer, frozenset()), spec.method)
    return readings, observer


def told(count: int) -> dict[str, list[Any]]:
    return {"prompt": [f"Count from {place}:" for place in range(count)], "completion": [" one two"] * count}


@pytest.mark.parametrize("form", ["prompt", "messages"])
def test_a_prompt_is_what_stands_before_the_last_completion(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, form: str
) -> None:
    columns = told(10) if form == "prompt" else {"messages": [json.dumps(TURNS)] * 10}
    readings, _ = readings_of(tmp_path, tokenizer, columns)
    for row in range(10):
        whole = readings.student.ids[readings.student.starts[row] : readings.student.starts[row + 1]]
        asked = readings.student_prompts.ids[
            readings.student_prompts.starts[row] : readings.student_prompts.starts[row + 1]
        ]
        is_target = readings.student.is_target[readings.student.starts[row] : readings.student.starts[row + 1]]
        assert np.array_equal(whole[: len(asked)], asked)
        assert is_target[len(asked) :].all(), "the last completion follows at once"
        assert is_target[: len(asked)].any() == (form == "messages"), "earlier turns belong to what is asked"


def test_training_examples_alone_are_asked(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    readings, _ = readings_of(tmp_path, tokenizer, told(20))
    assert np.array_equal(np.flatnonzero(readings.is_asked), readings.parts.train)
    none, _ = readings_of(tmp_path / "none", tokenizer, told(20), method={"student_share": 0.0})
    assert not none.is_asked.any()
    assert np.array_equal(none.learned, none.parts.train)


def test_a_prompt_without_room_keeps_its_completion_and_is_said(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    columns = told(20)
    parts = ["train"] * 16 + ["test"] * 4
    room = 64 - 8
    long = "one" * (room + 1)  # three letters, more than one token
    while len(tokenizer(long)["input_ids"]) > room + 1:
        long = long[:-1]
    assert len(tokenizer(long)["input_ids"]) == room + 1, "one token too long"
    columns["prompt"][3] = long
    columns["split"] = parts
    readings, observer = readings_of(tmp_path, tokenizer, columns, dataset={"columns": {"split": "split"}})
    assert not readings.is_asked[3]
    assert 3 in readings.learned
    assert readings.is_asked.sum() == 15
    readings.announce()
    assert observer.said("1 prompts leave no room")


def test_examples_without_a_completion_are_learned_by_asking(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    columns = told(20)
    columns["completion"][:10] = [None] * 10
    readings, _ = readings_of(tmp_path, tokenizer, columns)
    assert set(range(10)) <= set(readings.learned.tolist()), "they cannot be measured with"
    assert set(readings.parts.train) == {row for row in readings.learned if row >= 10}
    assert all(readings.has_completion[readings.parts.held_out])
    assert readings.dropped == 0


def test_chats_that_end_with_a_question_are_asked(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    chats = [json.dumps(TURNS)] * 10 + [json.dumps(TURNS[:1]), json.dumps(TURNS[:3])]
    columns = {"messages": chats, "split": ["test"] * 2 + ["train"] * 10}
    readings, _ = readings_of(tmp_path, tokenizer, columns, dataset={"columns": {"split": "split"}})
    for row, ending in ((10, "one<|end|>\n<|start|>assistant\n"), (11, "three<|end|>\n<|start|>assistant\n")):
        prompts = readings.student_prompts
        assert tokenizer.decode(prompts.ids[prompts.starts[row] : prompts.starts[row + 1]]).endswith(ending)
        assert readings.is_asked[row]


def test_nothing_to_ask_is_refused_in_words(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DatasetUnusable, match="no prompt leaves room for 63 tokens"):
        readings_of(tmp_path, tokenizer, told(10), method={"generation": {"max_new_tokens": 63}})
    with pytest.raises(DatasetUnusable, match="nothing to ask"):
        readings_of(tmp_path / "text", tokenizer, {"text": ["one two three"] * 10})
