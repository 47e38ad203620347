"""Tiny language models, a tokenizer with a chat template and data sets, made from scratch."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from core.report import GenerationReport
from core.spec import JobSpec
from tests.worker.training.conftest import Notebook, write_parquet
from worker.training.distil import distil
from worker.training.endpoint.line import Line
from worker.training.exchange import Inputs, Outcome

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
VOCABULARY = 320


def bpe(
    texts: list[str], *, template: str | None = TEMPLATE, specials: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on some texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|pad|>", "<|start|>", "<|end|>", *specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>")
    made.chat_template = template
    return made


def counting(count: int, seed: int = 0) -> dict[str, list[str]]:
    """Prompts that begin to count, and completions that go on."""
    draw = random.Random(seed)
    prompts, completions = [], []
    for _ in range(count):
        start, length = draw.randrange(6), draw.randint(2, 4)
        prompts.append(f"Count from {NUMBERS[start]}:")
        completions.append(" " + " ".join(NUMBERS[start : start + length]))
    return {"prompt": prompts, "completion": completions}


def chats(count: int) -> dict[str, list[str]]:
    told = counting(count)
    return {
        "messages": [
            json.dumps(
                [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion.strip()}],
            )
            for prompt, completion in zip(told["prompt"], told["completion"], strict=True)
        ]
    }


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    told = counting(50)
    return bpe([*told["prompt"], *told["completion"]])


def llama(vocabulary: int = VOCABULARY, layers: int = 3, *, seed: int = 1, tied: bool = True) -> PreTrainedModel:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=tied,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


def qwen2(vocabulary: int = VOCABULARY, layers: int = 3) -> PreTrainedModel:
    torch.manual_seed(2)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


def gpt2(vocabulary: int = VOCABULARY, layers: int = 3) -> PreTrainedModel:
    torch.manual_seed(3)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_embd=32,
            n_layer=layers,
            n_head=4,
            n_positions=128,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


FAMILIES = {"llama": llama, "qwen2": qwen2, "gpt2": gpt2}


def saved(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    return saved(tmp_path_factory.mktemp("writer"), llama(), tokenizer)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 prompts with completions."""
    return write_parquet(tmp_path_factory.mktemp("prompts") / "data.parquet", counting(60))


def spec_of(**changes: Any) -> JobSpec:
    """A small job; `changes` replace its parts."""
    written: dict[str, Any] = {
        "task": "text-generation",
        "teacher": "teacher",
        "student": {"from_teacher": {"layers": [0, 2]}},
        "dataset": {"id": "ds", "validation": 0.2, "test": 0.2},
        "training": {"max_steps": 4, "batch_size": 8, "max_length": 32, "learning_rate": 1e-3, "precision": "fp32"},
    }
    for key, value in changes.items():
        written[key] = {**written[key], **value} if isinstance(written.get(key), dict) and key != "student" else value
    return JobSpec.model_validate(written)


@dataclass(frozen=True)
class WritingLab:
    """Runs jobs in a folder of their own."""

    folder: Path
    dataset: Path
    teacher: Path

    def run(
        self,
        observer: Notebook | None = None,
        *,
        teachers: tuple[Path, ...] | None = None,
        student_folder: Path | None = None,
        data: Path | None = None,
        folder: str = "job",
        cache: Path | None = None,
        line: Line | None = None,
        is_awaited: bool = False,
        **changes: Any,
    ) -> tuple[Outcome, GenerationReport]:
        inputs = Inputs(
            spec=spec_of(**changes),
            folder=self.folder / folder,
            teachers=(teachers or (self.teacher,)) if line is None else (),
            student=student_folder,
            dataset=data or self.dataset,
            provenance={f"teacher-{place}": {"sha256": "of-the-test"} for place in range(8)},
            cache=cache,
            line=line,
            is_awaited=is_awaited,
        )
        outcome = distil(inputs, observer or Notebook())
        assert isinstance(outcome.report, GenerationReport)
        return outcome, outcome.report


@pytest.fixture(autouse=True)
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of a few tokens say all that a test asks."""
    monkeypatch.setattr("worker.training.language.samples.SAMPLE_TOKENS", 6)
    monkeypatch.setattr("worker.training.language.assess.SAMPLES", 3)


@pytest.fixture
def lab(tmp_path: Path, dataset: Path, teacher_folder: Path) -> WritingLab:
    return WritingLab(tmp_path, dataset, teacher_folder)
