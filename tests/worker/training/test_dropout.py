"""Quick dropout has the law of torch's, its gradient, and leaves models as they are."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from worker.training.dropout import dropped, quicken

SHAPE = (3, 2, 7, 8)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def model_of(kind: str) -> PreTrainedModel:
    torch.manual_seed(1)
    if kind == "bert":
        sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
        return BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=2))  # type: ignore[arg-type]
    if kind == "distilbert":
        return DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=50, dim=16, hidden_dim=32, n_layers=2, n_heads=2)
        )
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32))


@pytest.fixture(params=["bert", "distilbert", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return model_of(request.param)


@pytest.fixture
def texts() -> dict[str, Tensor]:
    mask_BT = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    return {"input_ids": torch.randint(5, 50, (2, 9)), "attention_mask": mask_BT}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_is_dropped_and_the_rest_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    count = 200_001
    found = dropped(torch.ones(count, dtype=dtype), p)
    assert found.dtype == dtype
    is_kept = found != 0
    assert abs(float(is_kept.float().mean()) - (1 - p)) < 5 * (p * (1 - p) / count) ** 0.5
    assert torch.allclose(found[is_kept].float(), torch.tensor(1 / (1 - p)), rtol=5e-3)


def test_neighbours_are_drawn_apart() -> None:
    """Four elements share one random number; knowing one of them says nothing of the next."""
    kept = (dropped(torch.ones(400_000), 0.5) != 0).float().view(-1, 4)
    together = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(together.abs().max()) < 0.02


def test_the_gradient_passes_where_the_state_did() -> None:
    states = torch.randn(SHAPE, requires_grad=True)
    found = dropped(states, 0.4)
    found.sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad * states.detach(), found.detach())


def test_a_seed_gives_the_same_draws() -> None:
    states = torch.randn(SHAPE)
    torch.manual_seed(7)
    first = dropped(states, 0.3)
    torch.manual_seed(7)
    assert torch.equal(dropped(states, 0.3), first)
    assert not torch.equal(dropped(states, 0.3), first)


def test_a_model_in_use_says_what_it_said_before(model: PreTrainedModel, texts: dict[str, Tensor]) -> None:
    model.eval()
    before = model(**texts).logits
    quicken(model)
    assert torch.allclose(model(**texts).logits, before, atol=1e-5)


def test_a_model_in_training_draws_here(model: PreTrainedModel, texts: dict[str, Tensor]) -> None:
    quicken(nn.ModuleDict({"pupil": model}))
    model.train()
    assert not [module for module in model.modules() if type(module) is nn.Dropout]
    assert not torch.equal(model(**texts).logits, model(**texts).logits)


def test_what_is_saved_does_not_know_of_it(model: PreTrainedModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "before")
    quicken(model)
    model.save_pretrained(tmp_path / "after")
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("before", "after"))
    assert after == before
    weights = "model.safetensors"
    assert (tmp_path / "after" / weights).read_bytes() == (tmp_path / "before" / weights).read_bytes()
