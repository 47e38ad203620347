"""A preview shows what training will read: the same tokens, the same mask, the same cut."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from core.spec import DatasetSpec
from tests.service.samples import lines, upload_dataset, upload_model, upload_writer, writer_files
from tests.worker.training.conftest import write_parquet
from tests.worker.training.language.conftest import bpe
from worker.training.language import data
from worker.training.language.scripts import write_down

TEXTS = [
    "Count to three.",
    " one, two, three",
    "grüße 😀",
    "  spaces \n\n and lines",
    "<|end|> is a word too",
    "x" * 300,
]
PROMPTS = [{"prompt": prompt, "completion": completion} for prompt in TEXTS for completion in TEXTS]


@pytest.fixture(scope="module", params=["without a beginning", "with a beginning"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    made = bpe(TEXTS, specials=("<|begin|>",))
    if request.param == "with a beginning":
        made.bos_token = "<|begin|>"
        special = [("<|begin|>", made.bos_token_id)]
        made.backend_tokenizer.post_processor = TemplateProcessing(single="<|begin|> $A", special_tokens=special)
    return made


@pytest.fixture
def model(http: httpx.Client, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> str:
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    return upload_writer(http, {**writer_files(), **saved})


def read(http: httpx.Client, dataset: str, **asked: Any) -> list[dict[str, Any]]:
    answer = http.get(f"/v1/datasets/{dataset}/examples", params={"limit": 100, **asked}, timeout=120)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["readings"]
    return found


@pytest.mark.parametrize("on_prompt", [False, True])
@pytest.mark.parametrize("max_length", [5, 256])
def test_a_preview_is_what_training_reads(
    http: httpx.Client, tokenizer: PreTrainedTokenizerFast, model: str, tmp_path: Path, max_length: int, on_prompt: bool
) -> None:
    found = read(
        http, upload_dataset(http, lines(*PROMPTS)), tokenizer=model, max_length=max_length, train_on_prompt=on_prompt
    )
    columns = {name: [row[name] for row in PROMPTS] for name in ("prompt", "completion")}
    writings = data.read(write_parquet(tmp_path / "data.parquet", columns), DatasetSpec(id="ds"), 0)
    scripts = write_down(writings, tokenizer, "the student", max_length, on_prompt, tmp_path / "tokens")
    assert len(found) == len(PROMPTS)
    for row, one in enumerate(found):
        span = slice(int(scripts.starts[row]), int(scripts.starts[row + 1]))
        assert one["ids"] == scripts.ids[span].tolist()
        assert one["learned"] == scripts.is_target[span].tolist()
        assert one["is_cut"] == bool(scripts.is_cut[row])
        assert one["tokens"] >= len(one["ids"]) == len(one["texts"])
    assert any(one["is_cut"] for one in found) == (bool(np.any(scripts.is_cut)))


def test_the_texts_of_the_tokens_are_the_example(http: httpx.Client, model: str) -> None:
    dataset = upload_dataset(http, lines({"question": "Count:", "answer": " one two"}))
    (one,) = read(http, dataset, tokenizer=model, prompt="question", completion="answer")
    assert "".join(one["texts"]).removeprefix("<|begin|>") == "Count: one two<|end|>"
    learned = "".join(text for text, is_learned in zip(one["texts"], one["learned"], strict=True) if is_learned)
    assert learned == " one two<|end|>"


def test_without_a_tokenizer_there_are_no_readings(http: httpx.Client) -> None:
    answer = http.get(f"/v1/datasets/{upload_dataset(http)}/examples").json()
    assert answer["readings"] is None
    assert len(answer["data"]) == 20


CHATS: list[Any] = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question in TEXTS[:3]
    for answer in TEXTS[:5]
]
CHATS += [[{"role": "system", "content": "Be short."}, *CHATS[0], *CHATS[7]], [*CHATS[1], CHATS[2][0]]]


def test_a_preview_of_chats_is_what_training_reads_through_the_models_own_template(
    http: httpx.Client, tokenizer: PreTrainedTokenizerFast, model: str, tmp_path: Path
) -> None:
    dataset = upload_dataset(http, lines(*[{"messages": chat} for chat in CHATS]))
    columns = {"messages": [json.dumps(chat) for chat in CHATS]}
    writings = data.read(write_parquet(tmp_path / "data.parquet", columns), DatasetSpec(id="ds"), 0)
    for most, on_prompt in ((12, False), (256, True)):
        found = read(http, dataset, tokenizer=model, max_length=most, train_on_prompt=on_prompt)
        scripts = write_down(writings, tokenizer, "the student", most, on_prompt, tmp_path / f"tokens-{most}")
        assert len(found) == len(CHATS)
        for row, one in enumerate(found):
            span = slice(int(scripts.starts[row]), int(scripts.starts[row + 1]))
            assert one["ids"] == scripts.ids[span].tolist()
            assert one["learned"] == scripts.is_target[span].tolist()
            assert one["is_cut"] == bool(scripts.is_cut[row])
            assert one["tokens"] >= len(one["ids"]) == len(one["texts"])
    whole = "".join(read(http, dataset, tokenizer=model, offset=0, limit=1)[0]["texts"])
    assert whole == "<|start|>user\nCount to three.<|end|>\n<|start|>assistant\nCount to three.<|end|>"


def test_a_chat_without_an_answer_is_shown_up_to_where_it_would_begin(http: httpx.Client, model: str) -> None:
    asked = [{"role": "user", "content": "Count."}]
    dataset = upload_dataset(http, lines({"messages": asked}, {"messages": None}))
    question, nothing = read(http, dataset, tokenizer=model)
    assert "".join(question["texts"]) == "<|start|>user\nCount.<|end|>\n<|start|>assistant\n"
    assert not any(question["learned"])
    assert (nothing["ids"], nothing["tokens"]) == ([], 0)


def test_prompts_beside_chats_are_read_where_the_chats_are_named_away(http: httpx.Client, model: str) -> None:
    dataset = upload_dataset(http, lines({"messages": CHATS[0], "prompt": "A", "completion": " B"}))
    (one,) = read(http, dataset, tokenizer=model, messages="none")
    assert "".join(one["texts"]).removeprefix("<|begin|>") == "A B<|end|>"


def test_a_template_that_refuses_a_chat_names_it(
    http: httpx.Client, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    refusing = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    refusing.chat_template = "{{ raise_exception('no ' + messages[0].role) if messages[0].role == 'system' }}x"
    refusing.save_pretrained(tmp_path / "saved")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    name = upload_writer(http, {**writer_files(), **saved})
    dataset = upload_dataset(http, lines({"messages": CHATS[0]}, {"messages": CHATS[-2]}))
    assert len(read(http, dataset, tokenizer=name, limit=1)) == 1
    answer = http.get(f"/v1/datasets/{dataset}/examples", params={"tokenizer": name})
    (fault,) = answer.json()["errors"]
    assert (answer.status_code, fault["code"]) == (422, "chat_template_unusable")
    assert "example 2: its chat template refuses them: no system" in fault["detail"]


def faults(http: httpx.Client, dataset: str, tokenizer: str) -> list[tuple[str, str]]:
    answer = http.get(f"/v1/datasets/{dataset}/examples", params={"tokenizer": tokenizer})
    assert answer.status_code == 422, answer.text
    assert all(fault["hint"] for fault in answer.json()["errors"])
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def test_what_cannot_be_previewed_is_said(http: httpx.Client) -> None:
    writer, prompts = upload_writer(http), upload_dataset(http, lines(*PROMPTS))
    assert faults(http, prompts, upload_model(http)) == [("/query/tokenizer", "not_a_language_model")]
    assert faults(http, prompts, writer) == [("/query/tokenizer", "no_tokenizer")]
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    bare = upload_writer(http, writer_files(template=False))
    assert faults(http, upload_dataset(http, lines({"messages": chat})), bare) == [
        ("/query/tokenizer", "chat_template_unusable")
    ]
    spoilt = upload_dataset(http, lines({"messages": chat}, {"messages": [{"role": "robot", "content": "x"}]}))
    assert faults(http, spoilt, writer) == [("/query/tokenizer", "not_chats")]
    other = upload_dataset(http, lines({"question": "a"}))
    assert faults(http, other, writer) == [("/query/tokenizer", "missing_column")]
    answer = http.get(f"/v1/datasets/{prompts}/examples", params={"tokenizer": "nobody"})
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "written",
    [
        b"[]",
        b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}',
        json.dumps({"version": "1.0", "model": {"type": "WordPiece", "vocab": {}, "unk_token": "x"}}).encode(),
    ],
)
def test_a_tokenizer_that_is_none_is_no_crash(http: httpx.Client, written: bytes) -> None:
    broken = upload_writer(http, {**writer_files(), "tokenizer.json": written})
    assert faults(http, upload_dataset(http, lines(*PROMPTS)), broken) == [("/query/tokenizer", "no_tokenizer")]
