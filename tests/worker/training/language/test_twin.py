"""The copy that writes is the model that learns, rounded once."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import FalconConfig, FalconForCausalLM, PreTrainedModel

from core.students import LoraSpec
from tests.worker.training.language.conftest import FAMILIES
from worker.training.language.students import writer_with_lora
from worker.training.language.twin import Twin, round_products
from worker.training.models import plain_of

IDS = torch.arange(12).reshape(2, 6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_twin_follows_what_was_learned_and_says_nearly_the_same(family: str) -> None:
    model = FAMILIES[family]().eval()
    twin = Twin("bf16")
    for _ in range(2):
        copy = twin.of(model)
        with torch.no_grad():
            said, wanted = copy(input_ids=IDS).logits.float(), model(input_ids=IDS).logits
        torch.testing.assert_close(said, wanted, rtol=0.05, atol=0.05 * wanted.abs().max().item())
        weights = list(zip(copy.parameters(), model.parameters(), strict=True))
        assert all(torch.equal(own, learned.to(torch.bfloat16)) for own, learned in weights)
        assert not any(own.requires_grad for own, _ in weights)
        assert all(a.dtype == b.dtype for a, b in zip(copy.buffers(), model.buffers(), strict=True))
        with torch.no_grad():
            for learned in model.parameters():
                learned.add_(torch.randn_like(learned), alpha=0.1)
    assert twin.of(model) is copy, "one copy is kept"


def test_a_twin_ends_with_its_model() -> None:
    model = FAMILIES["llama"]().eval()
    twin = Twin("bf16")
    copy = weakref.ref(twin.of(model))
    assert copy() is not None
    del model
    gc.collect()
    assert copy() is None


def test_adapters_are_part_of_the_twin() -> None:
    model = plain_of(writer_with_lora(FAMILIES["llama"](), LoraSpec(r=4), 1)).eval()
    twin = Twin("bf16")
    before = twin.of(model)(input_ids=IDS).logits
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    assert not torch.equal(twin.of(model)(input_ids=IDS).logits, before)


def test_in_float32_a_model_writes_itself() -> None:
    model = FAMILIES["llama"]()
    assert Twin("fp32").of(model) is model


def falcon() -> PreTrainedModel:
    """Adds its biases itself."""
    torch.manual_seed(4)
    sizes = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = FalconForCausalLM(FalconConfig(**sizes, bias=True, initializer_range=0.2))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight)
    return model


@pytest.mark.parametrize("make", [*FAMILIES.values(), falcon])
def test_products_in_bf16_make_the_numbers_that_autocast_makes(make: Callable[[], PreTrainedModel]) -> None:
    model = make().eval()
    body = model.base_model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = body(input_ids=IDS).last_hidden_state
        round_products(model)
        assert torch.equal(body(input_ids=IDS).last_hidden_state, expected)
    large = [weight for weight in body.parameters() if weight.dim() == 2]
    assert {weight.dtype for weight in large} == {torch.bfloat16, torch.float32}
    assert model.get_input_embeddings().weight.dtype == torch.float32, "what is looked up stays as exact as it was"


def test_a_twin_of_what_is_bf16_already_takes_no_memory_for_it() -> None:
    model = FAMILIES["llama"]().eval()
    expected = Twin("bf16").of(model)(input_ids=IDS).logits
    round_products(model)
    copy = Twin("bf16").of(model)
    assert torch.equal(copy(input_ids=IDS).logits, expected)
    for own, other in zip(copy.parameters(), model.parameters(), strict=True):
        assert (own.data_ptr() == other.data_ptr()) == (other.dtype == torch.bfloat16)
