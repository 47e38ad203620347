"""A tiny Llama with random weights that are large enough to have opinions, and a tiny BPE tokenizer that can chat."""

from collections.abc import Mapping

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.methods import GenerationSpec
from worker.training.generation.samples import Prompt
from worker.training.generation.writer import ModelWriter

TEXTS = [
    "the sum of two and three is five",
    "what is one plus four?",
    "a small model learns from a large one",
    "0123456789",
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


@pytest.fixture(scope="session")
def plain_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE without a chat template."""
    return _bpe(None)


@pytest.fixture(scope="session")
def chat_tokenizer() -> PreTrainedTokenizerFast:
    return _bpe(TEMPLATE)


def _bpe(template: str | None) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session")
def model(plain_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return llama(len(plain_tokenizer))


def llama(vocabulary: int, seed: int = 3) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        eos_token_id=1,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
    return model.eval()


def spec_of(**changes: object) -> GenerationSpec:
    return GenerationSpec.model_validate({"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 12, **changes})


def prompts_of(*texts: str, answers: Mapping[int, str] | None = None) -> list[Prompt]:
    return [Prompt(index, text, answer=(answers or {}).get(index)) for index, text in enumerate(texts)]


@pytest.fixture
def writer(model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast) -> ModelWriter:
    return ModelWriter(model, plain_tokenizer, spec_of(), seed=5)
