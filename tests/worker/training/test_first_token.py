"""What no head reads need not be computed: logits and gradients stay what they were."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from core.students import LoraSpec
from worker.training.first_token import PARTS, first_token_alone
from worker.training.students import with_lora

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "embedding_size": 32,
    "pad_token_id": 1,
}
FAMILIES = ["bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"]


def classifier(family: str, **others: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = SIZES | others
    if family == "distilbert":
        sizes |= {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, num_labels=3, **sizes))
    assert isinstance(model, PreTrainedModel)
    return model.eval()


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids_BT = torch.randint(2, 60, (4, 9))
    mask_BT = torch.arange(9)[None, :] < torch.tensor([9, 5, 7, 3])[:, None]
    return {"input_ids": ids_BT.where(mask_BT, 1), "attention_mask": mask_BT.long()}


def logits_and_gradients(model: nn.Module) -> list[torch.Tensor]:
    logits_BC = model(**batch()).logits
    logits_BC.square().sum().backward()
    return [logits_BC, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


def shapes_of(model: nn.Module) -> list[int]:
    """How many positions the feed-forward of each layer sees."""
    seen: list[int] = []
    wide = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 64]
    hooks = [linear.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[1])) for linear in wide]
    model(**batch())
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_whole_layer(family: str) -> None:
    model = classifier(family)
    assert type(model) in PARTS
    whole = logits_and_gradients(copy.deepcopy(model))
    with first_token_alone(model):
        alone = logits_and_gradients(model)
    assert len(alone) == len(whole)
    for one, other in zip(alone, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_works_on_one_token_and_afterwards_on_all_again(family: str) -> None:
    model = classifier(family)
    with first_token_alone(model):
        assert shapes_of(model) == [9, 1]
    assert shapes_of(model) == [9, 9]


def asked_of(model: nn.Module) -> list[int]:
    """How many positions ask in each layer's attention."""
    seen: list[int] = []
    asking = [module for name, module in model.named_modules() if name.endswith((".query", ".q_lin"))]
    hooks = [linear.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[1])) for linear in asking]
    model(**batch())
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_one_token_asks_in_the_last_layers_attention_and_afterwards_all_again(family: str) -> None:
    model = classifier(family)
    with first_token_alone(model):
        assert asked_of(model) == [9, 1]
    assert asked_of(model) == [9, 9]


def test_tokens_that_see_only_those_before_them_are_asked_as_ever() -> None:
    model = classifier("bert", is_decoder=True)
    whole = model(**batch()).logits
    with first_token_alone(model):
        torch.testing.assert_close(model(**batch()).logits, whole, rtol=1e-5, atol=1e-5)


def test_adapters_are_no_hindrance() -> None:
    model = with_lora(classifier("bert"), LoraSpec(r=2), seed=0).eval()
    whole = logits_and_gradients(copy.deepcopy(model))
    with first_token_alone(model):
        for one, other in zip(logits_and_gradients(model), whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_model_that_reads_otherwise_is_left_alone() -> None:
    sizes = {"vocab_size": 60, "d_model": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model("llama", **sizes, hidden_size=32, pad_token_id=1, num_labels=3)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with first_token_alone(model):
        inside = model(**batch()).logits
    torch.testing.assert_close(inside, model(**batch()).logits)
