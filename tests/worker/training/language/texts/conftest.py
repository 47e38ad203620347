"""A tiny teacher that really counts, in chats, and prompts for it whose right answers are known."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.worker.training.conftest import write_parquet
from tests.worker.training.language.conftest import NUMBERS, WritingLab, llama, saved

STEPS = 150
GENERATION: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0, "top_p": 1.0, "batch_size": 16}


def method(**parts: Any) -> dict[str, Any]:
    return {"type": "sequence", "generation": GENERATION, "filters": {"deduplicate": None}, **parts}


def questions(count: int) -> list[str]:
    return [f"Count from {NUMBERS[place % 7]}:" for place in range(count)]


def right(question: str) -> str:
    start = NUMBERS.index(question.removeprefix("Count from ").rstrip(":"))
    return " ".join(NUMBERS[start : start + 3])


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("assess", "scores"):
        monkeypatch.setattr(f"worker.training.language.texts.{module}.SAMPLES", 3)


@pytest.fixture(scope="session")
def counting_teacher(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    return saved(tmp_path_factory.mktemp("counting"), trained(llama(), tokenizer), tokenizer)


def trained(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Teach a model to answer every question of `questions` in a chat."""
    torch.manual_seed(0)
    chats = [[{"role": "user", "content": q}, {"role": "assistant", "content": right(q)}] for q in questions(7)]
    texts = [str(tokenizer.apply_chat_template(chat, tokenize=False)).removesuffix("\n") for chat in chats]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    targets = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """56 prompts with right answers, and completions that count otherwise."""
    asked = questions(56)
    columns = {
        "prompt": asked,
        "completion": ["nine nine"] * len(asked),
        "answer": [right(question) for question in asked],
        "who": [("first", "second")[place % 3 == 0] for place in range(len(asked))],
    }
    return write_parquet(tmp_path_factory.mktemp("questions") / "data.parquet", columns)


@pytest.fixture
def lab(tmp_path: Path, prompts: Path, counting_teacher: Path) -> WritingLab:
    return WritingLab(tmp_path, prompts, counting_teacher)
