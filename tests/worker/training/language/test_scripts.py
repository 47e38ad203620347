"""Which tokens of an example are learned, in what batch they stand, and what is cut.

Legend: B sequences, T positions, N kept tokens of a batch.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from core.errors import ChatTemplateUnusable
from core.spec import DatasetSpec
from tests.worker.training.conftest import write_parquet
from tests.worker.training.language.conftest import bpe, counting
from worker.training.language import data
from worker.training.language.scripts import Scripts, write_down

SPEC = DatasetSpec.model_validate({"id": "ds"})
TALK = [
    {"role": "system", "content": "Count."},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
    {"role": "user", "content": "five"},
]


def down(
    folder: Path,
    columns: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerFast,
    *,
    length: int = 64,
    on_prompt: bool = False,
) -> Scripts:
    folder.mkdir(exist_ok=True)
    writings = data.read(write_parquet(folder / "data.parquet", columns), SPEC, 0)
    return write_down(writings, tokenizer, "the student", length, on_prompt, folder / "tokens")


def learned(scripts: Scripts, row: int, tokenizer: PreTrainedTokenizerFast) -> str:
    return str(tokenizer.decode(scripts.targets(row)))


def test_a_completion_and_its_end_are_learned_and_the_prompt_is_not(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    told = counting(4)
    scripts = down(tmp_path, told, tokenizer)
    for row, completion in enumerate(told["completion"]):
        assert learned(scripts, row, tokenizer) == completion + "<|end|>"


def test_with_train_on_prompt_all_but_the_very_first_token_is_learned(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    told = counting(4)
    scripts = down(tmp_path, told, tokenizer, on_prompt=True)
    for row, (prompt, completion) in enumerate(zip(told["prompt"], told["completion"], strict=True)):
        ids = tokenizer(prompt)["input_ids"] + tokenizer(completion)["input_ids"] + [tokenizer.eos_token_id]
        assert scripts.targets(row).tolist() == ids[1:]


def test_a_plain_text_is_learned_from_its_second_token_on(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["one two three", "four five"]
    scripts = down(tmp_path, {"text": [*texts, "six seven", "eight"]}, tokenizer)
    for row, text in enumerate(texts):
        assert scripts.targets(row).tolist() == [*tokenizer(text)["input_ids"][1:], tokenizer.eos_token_id]


def test_of_a_chat_each_of_the_assistants_turns_is_learned_with_its_end(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    scripts = down(tmp_path, {"messages": [json.dumps(TALK)] * 4}, tokenizer)
    assert learned(scripts, 0, tokenizer) == "two<|end|>four<|end|>"
    read = tokenizer.decode(scripts.ids[: scripts.starts[1]])
    whole = tokenizer.apply_chat_template(TALK[:-1], tokenize=False)
    assert read == whole.removesuffix("\n"), "what follows the last of the assistant's turns is left out"


def test_a_chat_is_read_as_the_template_tokenizes_it_whole(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    scripts = down(tmp_path, {"messages": [json.dumps(TALK)] * 4}, tokenizer)
    whole = tokenizer.apply_chat_template(TALK[:-1], tokenize=True, return_dict=True)["input_ids"]
    assert scripts.ids[: scripts.starts[1]].tolist() == whole[: scripts.starts[1]]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "no chat template"),
        ("{{ raise_exception('no system role') }}", "refuses them: no system role"),
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", "earlier turns otherwise"),
    ],
)
def test_a_template_that_cannot_write_the_chats_is_said(tmp_path: Path, template: str | None, why: str) -> None:
    other = bpe(counting(9)["prompt"], template=template)
    with pytest.raises(ChatTemplateUnusable, match=why):
        down(tmp_path, {"messages": [json.dumps(TALK)] * 4}, other)


def test_what_is_too_long_is_cut_at_its_end_and_counted(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    told = {
        "prompt": ["one two three four five six"] * 3 + ["one"],
        "completion": [" seven", " eight nine", "", " two"],
    }
    whole = down(tmp_path / "a", told, tokenizer)
    length = int(whole.lengths[1]) - 1
    scripts = down(tmp_path / "b", told, tokenizer, length=length)
    assert scripts.is_cut.tolist() == [bool(size > length) for size in whole.lengths]
    assert scripts.targets(1).tolist() == whole.targets(1)[:-1].tolist()
    prompt_alone = down(tmp_path / "c", told, tokenizer, length=3)
    assert prompt_alone.kept(np.arange(2)).tolist() == [0, 0]


def test_targets_are_the_tokens_behind_the_positions_that_predict_them(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    scripts = down(tmp_path, counting(8), tokenizer)
    rows = [5, 0, 3]
    script = scripts.script(rows)
    ids_BT, predicts_BT = script["texts"]["input_ids"], script["predicts"]
    behind = torch.roll(ids_BT, -1, dims=1)[predicts_BT]
    assert behind.tolist() == script["targets"].tolist()
    assert script["targets"].tolist() == [int(token) for row in rows for token in scripts.targets(row)]
    assert predicts_BT.sum(dim=1).tolist() == scripts.kept(rows).tolist()
    assert not predicts_BT[script["texts"]["attention_mask"] == 0].any()


def test_a_beginning_of_text_token_opens_each_example_once(tmp_path: Path) -> None:
    told = counting(6)
    opened = bpe([*told["prompt"], *told["completion"]], specials=("<|begin|>",))
    opened.bos_token = "<|begin|>"
    opened.backend_tokenizer.post_processor = _opening("<|begin|>", int(opened.bos_token_id or 0))
    scripts = down(tmp_path, told, opened)
    for row in range(6):
        ids = scripts.ids[scripts.starts[row] : scripts.starts[row + 1]].tolist()
        assert ids[0] == opened.bos_token_id
        assert ids.count(opened.bos_token_id) == 1
        assert learned(scripts, row, opened) == told["completion"][row] + "<|end|>"


def _opening(token: str, place: int) -> Any:
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single=f"{token} $A", special_tokens=[(token, place)])
