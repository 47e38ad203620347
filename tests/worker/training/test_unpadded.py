"""Without padding a model says what it says with it, or it is read with it."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from core.students import LoraSpec
from tests.worker.training.conftest import TINY, Lab, Notebook
from worker.training import unpadded as unpadded_room
from worker.training.classifying import class_logits, is_unpadded, prepared, with_hidden_states
from worker.training.language import states
from worker.training.language.twin import round_products
from worker.training.students import with_lora
from worker.training.unpadded import padded, pays, unpadded

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "embedding_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "initializer_range": 0.2,
}
OTHERS: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "mistral": {"sliding_window": 3},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2},
    "gemma3_text": {"sliding_window": 3, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
    "phimoe": {"sliding_window": 30, "num_local_experts": 2},
    "qwen2_moe": {"sliding_window": 30, "use_sliding_window": True, "max_window_layers": 0, "num_experts": 4},
    "deepseek_v32": {
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
    },
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 64, "block_types": ["recurrent", "attention"]},
    "mobilebert": {"intra_bottleneck_size": 32, "true_hidden_size": 32},
}
CLASSIFIERS = ["bert", "roberta", "distilbert", "electra", "camembert", "xlm-roberta", "modernbert", "gpt2", "llama"]
WRITERS = ["gpt2", "llama", "qwen2", "qwen3", "mistral", "opt", "gpt_neox", "gemma3_text"]
LENGTHS = [9, 4, 4, 11, 1, 6]


@pytest.fixture(autouse=True)
def without_padding_however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpadded_room, "RUN_OPERATIONS", 0)


def made(family: str, auto: Any = AutoModelForSequenceClassification, **others: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    known = SIZES if family not in {"gpt2", "distilbert"} else {n: SIZES[n] for n in ("vocab_size", "pad_token_id")}
    config = AutoConfig.for_model(family, **{**known, **OTHERS.get(family, {}), **others}, num_labels=3)
    model = auto.from_config(config, attn_implementation="sdpa")
    assert isinstance(model, PreTrainedModel)
    return model.eval()


def batch(*, on_the_left: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(1)
    mask_BT = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    mask_BT = mask_BT.flip(1) if on_the_left else mask_BT
    return {"input_ids": torch.randint(4, 60, mask_BT.shape).where(mask_BT, 1), "attention_mask": mask_BT.long()}


def gradients(said: Tensor, model: nn.Module) -> list[Tensor]:
    model.zero_grad()
    weights = torch.randn(said.shape, generator=torch.Generator().manual_seed(2))
    (said * weights).sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def assert_same(found: Tensor, expected: Tensor, model: nn.Module, original: nn.Module) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(found, model), gradients(expected, original), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


class Seen:
    """Counts the positions that a model reads, padding included."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.positions = 0
        model.get_input_embeddings().register_forward_pre_hook(self._look)

    def _look(self, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.positions += given[0].numel()


def test_a_batch_without_padding_is_its_texts_end_to_end() -> None:
    texts = batch()
    flat = unpadded(texts, first=2)
    assert flat["input_ids"].shape == (1, sum(LENGTHS))
    assert flat["attention_mask"].flatten().tolist() == LENGTHS
    assert flat["position_ids"].flatten().tolist() == [2 + at for length in LENGTHS for at in range(length)]
    back = padded(flat["input_ids"].unsqueeze(-1), texts["attention_mask"]).squeeze(-1)
    assert torch.equal(back, texts["input_ids"] * texts["attention_mask"])


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifiers_logits_and_gradients_are_those_of_the_padded_batch(family: str) -> None:
    model = made(family)
    original = copy.deepcopy(model)
    assert prepared(model)
    seen = Seen(model)
    assert_same(class_logits(model, batch()), original(**batch()).logits, model, original)
    assert seen.positions == sum(LENGTHS)


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_hidden_states_are_those_of_the_padded_batch_where_there_is_text(family: str) -> None:
    model = made(family)
    original, is_text = copy.deepcopy(model), batch()["attention_mask"].bool()
    assert prepared(model)
    logits, found = with_hidden_states(model, batch())
    expected = original(**batch(), output_hidden_states=True)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-5, atol=1e-5)
    assert len(found) == len(expected.hidden_states)
    for one, other in zip(found, expected.hidden_states, strict=True):
        torch.testing.assert_close(one[is_text], other[is_text], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", WRITERS)
def test_a_writers_states_and_gradients_are_those_of_the_padded_batch(family: str) -> None:
    model = made(family, AutoModelForCausalLM)
    original = copy.deepcopy(model)
    assert states.prepared(model)
    predicts_BT = batch()["attention_mask"].bool() & (torch.rand(len(LENGTHS), max(LENGTHS)) < 0.7)
    seen = Seen(model)
    found = states.states_of(model, batch(), predicts_BT)
    assert seen.positions == sum(LENGTHS)
    assert_same(found, original.base_model(**batch()).last_hidden_state[predicts_BT], model, original)


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_kinds_of_tokens_go_along(family: str) -> None:
    model = made(family)
    original = copy.deepcopy(model)
    texts = {**batch(), "token_type_ids": (torch.arange(11) > 2).long().expand(len(LENGTHS), -1)}
    assert prepared(model)
    torch.testing.assert_close(class_logits(model, texts), original(**texts).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_texts_that_are_padded_on_the_left_stay_so(family: str) -> None:
    """GPT-2 counts positions from the padding on."""
    model = made(family)
    texts = batch(on_the_left=True)
    expected = copy.deepcopy(model)(**texts).logits
    assert prepared(model)
    assert not is_unpadded(model, texts)
    torch.testing.assert_close(class_logits(model, texts), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "lengths", "is_read_so"),
    [
        (384, [60, 20, 20, 20, 20], True),
        (384, [60, 60, 60, 60, 60], False),
        (384, [60, 60, 60, 60, 59], False),
        (16, [60, 20, 20, 20, 20], False),
    ],
    ids=["much padding", "none", "little", "a small model"],
)
def test_a_batch_is_padded_where_that_is_less_work(
    monkeypatch: pytest.MonkeyPatch, width: int, lengths: list[int], *, is_read_so: bool
) -> None:
    monkeypatch.undo()
    model = made("bert", hidden_size=width, intermediate_size=4 * width)
    mask_BT = (torch.arange(60) < torch.tensor(lengths).unsqueeze(1)).long()
    texts = {"input_ids": torch.full(mask_BT.shape, 5), "attention_mask": mask_BT}
    assert is_unpadded(model, texts) is is_read_so


def test_adapters_are_no_hindrance() -> None:
    model = with_lora(made("bert"), LoraSpec(r=2), seed=0).eval()
    original = copy.deepcopy(model)
    assert prepared(model)
    assert_same(class_logits(model, batch()), original(**batch()).logits, model, original)


@pytest.mark.parametrize("family", ["mobilebert", "albert"])
def test_a_classifier_that_lets_texts_meet_is_read_with_padding(family: str) -> None:
    model = made(family)
    original = copy.deepcopy(model)
    assert not prepared(model)
    assert torch.equal(class_logits(model, batch()), original(**batch()).logits)


def test_a_writer_that_lets_texts_meet_is_read_with_padding() -> None:
    model = made("lfm2", AutoModelForCausalLM)
    original, is_text = copy.deepcopy(model), batch()["attention_mask"].bool()
    assert not states.prepared(model)
    expected = original.base_model(**batch()).last_hidden_state[is_text]
    assert torch.equal(states.states_of(model, batch(), is_text), expected)


@pytest.mark.parametrize("family", [*WRITERS, "lfm2", "recurrent_gemma"])
def test_what_was_found_of_a_writer_stays_with_it(family: str) -> None:
    """Before its products are rounded, and for other processes: where texts hardly meet, bf16 would hide it."""
    model = made(family, AutoModelForCausalLM, initializer_range=0.02)
    original, is_text = copy.deepcopy(model), batch()["attention_mask"].bool()
    assert states.prepared(model) == (family in WRITERS)
    round_products(model)
    there = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = original.base_model(**batch()).last_hidden_state[is_text]
        for one in (model, there):
            assert states.prepared(one) == (family in WRITERS)
            torch.testing.assert_close(states.states_of(one, batch(), is_text), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("family", WRITERS)
def test_a_writer_with_products_in_bf16_is_tried_as_it_computes(family: str) -> None:
    model = made(family, AutoModelForCausalLM)
    round_products(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert states.prepared(model)


def test_a_text_without_tokens_is_read_with_padding() -> None:
    model, texts = made("bert"), batch()
    assert is_unpadded(model, texts)
    texts["attention_mask"][2] = 0
    assert not is_unpadded(model, texts)


@pytest.mark.parametrize("family", ["phimoe", "qwen2_moe"])
def test_a_window_that_no_attention_is_told_of_keeps_the_padding(family: str) -> None:
    """The texts that a model is tried with are shorter than any real window, and would not show it."""
    model = made(family, AutoModelForCausalLM)
    assert not states.prepared(model)
    whole = made(family, AutoModelForCausalLM, sliding_window=None, use_sliding_window=False)
    assert states.prepared(whole)


def test_a_model_that_knows_its_attention_by_name_keeps_it() -> None:
    """Its sparse attention is dense under any other."""
    model = made("deepseek_v32", AutoModelForCausalLM)
    assert not states.prepared(model)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("pad", [-1, None, 59])
def test_a_model_may_have_any_padding(pad: int | None) -> None:
    model = made("llama", AutoModelForCausalLM)
    model.config.pad_token_id = pad
    assert states.prepared(model)


@pytest.mark.parametrize("who", ["training", "reading"])
def test_who_asks_first_in_which_precision_makes_no_difference(who: str) -> None:
    model = made("bert")
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode(who == "reading"):
        assert prepared(model)


def test_to_try_a_model_draws_nothing_and_leaves_it_in_its_mode() -> None:
    model = made("bert").train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert prepared(model)
    assert model.training
    assert pays(model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", [{}, {"hidden": {"type": "mse"}}], ids=["logits", "hidden"])
def test_a_job_learns_the_same_with_padding(lab: Lab, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any]) -> None:
    config = {"model_type": "bert", **{name: TINY[name] for name in TINY if name != "vocab_size"}}
    job: dict[str, Any] = {
        "student": {"config": {**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}},
        "method": method,
        "training": {"max_steps": 6, "learning_rate": 1e-4},
        "evaluation": {"baseline": False},
    }
    flat, with_padding = Notebook(), Notebook()
    lab.run(flat, folder="flat", **job)
    monkeypatch.setattr(unpadded_room, "pays", lambda _model: False)
    lab.run(with_padding, folder="padded", **job)
    for name in ("loss", "kd_loss", "ce_loss", "validation/kl", *(["hidden_loss"] if method else [])):
        found, expected = ([value for _, value in notebook.series[name]] for notebook in (flat, with_padding))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5), name
