"""OpenVINO writes what transformers writes: the same tokens greedily, samples of the same distribution."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.worker.training.generation.conftest import llama, prompts_of, spec_of
from worker.training.generation.compiled.choosing import converted
from worker.training.generation.compiled.engine import OpenVinoEngine
from worker.training.generation.compiled.runtime import READ_AT_ONCE, Precision, Runner, Setup, version_installed
from worker.training.generation.samples import Ask, Sample
from worker.training.generation.writer import Completion, ModelWriter

pytestmark = pytest.mark.skipif(version_installed() is None, reason="the extra openvino is not installed")

QUESTIONS = ("what is one plus four?", "the", "a small model learns from a large one and two and three", "0123")
SAMPLES = 400


def silent() -> None:
    pass


def engine_of(model: PreTrainedModel, folder: Path, precision: Precision = "fp32") -> OpenVinoEngine:
    return OpenVinoEngine(Runner(converted(model, folder, silent), Setup(precision, 1)))


@pytest.fixture(scope="module")
def engine(model: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> OpenVinoEngine:
    return engine_of(model, tmp_path_factory.mktemp("engines"))


def asks(samples: int = 1) -> list[Ask]:
    return [Ask(prompt, sample) for prompt in prompts_of(*QUESTIONS) for sample in range(samples)]


def both(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, engine: OpenVinoEngine, samples: int, **spec: object
) -> tuple[list[Sample], list[Sample]]:
    plain = ModelWriter(model, tokenizer, spec_of(**spec), seed=5)
    compiled = ModelWriter(model, tokenizer, spec_of(**spec), seed=5, engine=engine)
    return plain.write(asks(samples), silent), compiled.write(asks(samples), silent)


@pytest.mark.parametrize("repetition_penalty", [1.0, 1.3])
def test_greedy_writing_is_that_of_transformers(
    model: LlamaForCausalLM,
    plain_tokenizer: PreTrainedTokenizerFast,
    engine: OpenVinoEngine,
    repetition_penalty: float,
) -> None:
    plain, compiled = both(
        model, plain_tokenizer, engine, 1, temperature=0.0, max_new_tokens=40, repetition_penalty=repetition_penalty
    )
    assert compiled == plain


def test_samples_of_one_seed_are_those_of_transformers(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, engine: OpenVinoEngine
) -> None:
    shape = {"temperature": 0.9, "top_p": 0.95, "top_k": 200, "min_p": 0.001, "repetition_penalty": 1.2}
    plain, compiled = both(model, plain_tokenizer, engine, 5, **shape, stop=("e",))
    assert compiled == plain
    assert len({sample.text for sample in compiled}) > 10
    assert any(sample.finished for sample in compiled), "some are ended by the stop"


def test_a_sample_does_not_depend_on_its_batch(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, engine: OpenVinoEngine
) -> None:
    writer = ModelWriter(model, plain_tokenizer, spec_of(), 5, engine)
    together = writer.write(asks(2), silent)
    assert [writer.write([ask], silent)[0] for ask in asks(2)] == together
    assert writer.write(asks(2)[::-1], silent)[::-1] == together


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "eos_token_id": 1, "pad_token_id": 0}
FAMILIES: dict[str, Callable[[int], PreTrainedModel]] = {
    "gpt2": lambda words: GPT2LMHeadModel(
        GPT2Config(vocab_size=words, n_embd=32, n_layer=2, n_head=2, n_positions=128, eos_token_id=1)
    ),
    "opt": lambda words: OPTForCausalLM(
        OPTConfig(vocab_size=words, **SIZES, ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=128)
    ),
    "qwen2": lambda words: Qwen2ForCausalLM(
        Qwen2Config(vocab_size=words, **SIZES, intermediate_size=64, num_key_value_heads=1)
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_write_too(family: str, plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family](len(plain_tokenizer)).eval()
    plain = ModelWriter(model, plain_tokenizer, spec_of(), 5).write(asks(), silent)
    assert ModelWriter(model, plain_tokenizer, spec_of(), 5, engine_of(model, tmp_path)).write(asks(), silent) == plain


def test_long_prompts_are_read_in_pieces(plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = llama(len(plain_tokenizer))
    model.config.max_position_embeddings = 2 * READ_AT_ONCE
    ids_BT = torch.randint(5, len(plain_tokenizer), (2, READ_AT_ONCE + 30))
    mask_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    mask_BT[0, : READ_AT_ONCE + 10] = False
    runner = Runner(converted(model, tmp_path, silent), Setup("fp32", 1))
    runner.begin()
    found_BV = torch.from_numpy(runner.step(ids_BT.numpy(), mask_BT.numpy()))
    with torch.no_grad():
        alone = [model(input_ids=ids[real][None]).logits[0, -1] for ids, real in zip(ids_BT, mask_BT, strict=True)]
    torch.testing.assert_close(found_BV, torch.stack(alone), rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(version_installed("nncf") is None, reason="the extra openvino is not installed")
def test_8_bits_say_almost_the_same(model: LlamaForCausalLM, tmp_path: Path) -> None:
    ids_BT = torch.randint(5, 60, (4, 12))
    runner = Runner(converted(model, tmp_path, silent, "int8"), Setup("fp32", 1, "int8"))
    runner.begin()
    found_BV = torch.from_numpy(runner.step(ids_BT.numpy(), np.ones((4, 12), dtype=np.bool_)))
    with torch.no_grad():
        wanted_BV = model(input_ids=ids_BT).logits[:, -1]
    distance = float((found_BV - wanted_BV).square().mean().sqrt() / wanted_BV.std())
    assert 1e-4 < distance < 0.1


def likelihoods(model: LlamaForCausalLM, prompts: list[list[int]], written: list[Completion]) -> np.ndarray:
    """The log-likelihood per text of what was written, under the model in float32."""
    found = []
    for prompt, one in zip(prompts, written, strict=True):
        ids = torch.tensor([prompt + one.token_ids])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        found.append(float(logprobs.gather(1, ids[0, len(prompt) :, None]).mean()))
    return np.array(found)


def test_samples_are_as_likely_under_the_model_as_those_of_transformers(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """In bf16 rounding is another, so that single texts differ; their distribution does not."""
    prompts = [list(plain_tokenizer(QUESTIONS[place % len(QUESTIONS)])["input_ids"]) for place in range(SAMPLES)]
    keys = [(place, 0) for place in range(SAMPLES)]
    spec = spec_of(max_new_tokens=6)
    compiled = ModelWriter(model, plain_tokenizer, spec, 1, engine_of(model, tmp_path, "bf16"))
    plain = ModelWriter(model, plain_tokenizer, spec, 2)
    ours = likelihoods(model, prompts, compiled.complete(prompts, keys, silent))
    theirs = likelihoods(model, prompts, plain.complete(prompts, keys, silent))
    error = np.sqrt((ours.var() + theirs.var()) / SAMPLES)
    assert abs(ours.mean() - theirs.mean()) < 3 * error
    sharper = ModelWriter(model, plain_tokenizer, spec_of(max_new_tokens=6, temperature=0.5), 2)
    other = likelihoods(model, prompts, sharper.complete(prompts, keys, silent))
    assert abs(other.mean() - theirs.mean()) > 3 * error, "another temperature would be seen"
