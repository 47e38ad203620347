"""The teacher's answers to held-out prompts: what is measured with where a data set has no completions."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from core.methods import GenerationSpec
from tests.worker.training.conftest import Notebook, write_parquet
from tests.worker.training.language.conftest import llama, spec_of
from worker.training.desk import Desk
from worker.training.language import answers, data
from worker.training.language.answers import Answered, answered, holds_completions
from worker.training.language.asking import left_open
from worker.training.language.scripts import write_down
from worker.training.models import Loaded
from worker.training.observer import Stopped

QUESTIONS = [f"Count from {place}:" for place in range(20)]
CHATS = [json.dumps([{"role": "user", "content": question}]) for question in QUESTIONS]
FORMS: dict[str, dict[str, list[Any]]] = {"prompt": {"prompt": QUESTIONS}, "messages": {"messages": CHATS}}
SPEC = GenerationSpec.model_validate({"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 6, "batch_size": 4})


def written_of(
    folder: Path, tokenizer: PreTrainedTokenizerFast, form: str, observer: Notebook | None = None
) -> Answered:
    desk = Desk(spec_of(), folder / "job", observer or Notebook())
    path = write_parquet(folder / "data.parquet", FORMS[form])
    writings = data.read(path, desk.spec.dataset, 42, "either")
    assert not holds_completions(writings)
    return answered(desk, writings, Loaded(llama(), tokenizer, frozenset()), SPEC, 5)


@pytest.mark.parametrize("form", FORMS)
def test_held_out_examples_get_completions_and_the_others_none(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, form: str
) -> None:
    writings = written_of(tmp_path, tokenizer, form)
    held_out = {*writings.parts.validation.tolist(), *writings.parts.test.tolist()}
    assert len(held_out) == 8
    assert set(writings.answers) == held_out
    for number, one in enumerate(one for some in writings for one in some):
        assert one.has_completion() == (number in held_out)
        if number in held_out:
            said = one.completion if one.messages is None else one.messages[-1]["content"]
            assert said == writings.answers[number].text


def test_the_same_seed_gives_the_same_answers(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    one, again = (written_of(tmp_path, tokenizer, "prompt") for _ in range(2))
    assert one.answers == again.answers


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_did_not_end_has_no_end_to_learn(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, form: str
) -> None:
    writings = written_of(tmp_path, tokenizer, form)
    whole = write_down(writings, tokenizer, "teacher", 64, False, tmp_path / "tokens")
    opened, (theirs,) = left_open(writings, whole, [whole])
    assert opened is theirs
    for row, answer in writings.answers.items():
        assert whole.targets(row)[-1] == tokenizer.eos_token_id
        before, after = whole.kept([row])[0], opened.kept([row])[0]
        assert after == (before if answer.finished else before - 1)
    assert not all(answer.finished for answer in writings.answers.values())


def test_few_are_enough(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MEASURED", 2)
    monkeypatch.setattr(answers, "VALIDATED", 1)
    writings = written_of(tmp_path, tokenizer, "prompt")
    assert (len(writings.parts.validation), len(writings.parts.test)) == (1, 2)
    assert len(writings.parts.train) == 12


def test_it_stops_at_the_next_token(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    notebook = Notebook(lambda seen: "cancel" if len(seen.seen) >= 3 else None)
    with pytest.raises(Stopped):
        written_of(tmp_path, tokenizer, "prompt", notebook)
    assert len(notebook.seen) == 3
