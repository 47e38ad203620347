"""Attention of texts end to end is that of each text alone; where texts are padded it is transformers' own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tests.worker.training.test_dropout import model_of
from worker.training import attention as room
from worker.training.attention import (
    ALL,
    ATTENTION,
    COUNTS,
    Sight,
    attend_apart,
    attend_here,
    attention,
    by_kernel,
    dropping,
    has_kernel,
)

SHAPE = (3, 2, 7, 8)
COUNTED = [[5], [4, 4, 4], [1, 6, 6, 2, 1, 1], [3, 9, 2]]
SIGHTS = {"all": ALL, "before": Sight(after=0), "three before": Sight(2, 0), "two around": Sight(2, 2)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def states(counts: list[int], *heads: int) -> list[Tensor]:
    return [torch.randn(1, count, sum(counts), 8, requires_grad=True) for count in heads]


def apart(counts: list[int], sight: Sight) -> Tensor:
    """Which position may read which, in one large square."""
    text_S = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    behind = torch.arange(len(text_S)).unsqueeze(1) - torch.arange(len(text_S))
    return (text_S.unsqueeze(1) == text_S) & (behind <= sight.before) & (-behind <= sight.after)


def gradients(read: Tensor, given: list[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.randn(read.shape, generator=torch.Generator().manual_seed(3))
    return torch.autograd.grad((read * weights).sum(), given)


@pytest.mark.parametrize("counts", COUNTED)
@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("heads", [(4, 4, 4), (4, 2, 2)], ids=["each its own", "shared keys"])
def test_each_text_reads_itself_alone(counts: list[int], sight: str, heads: tuple[int, ...]) -> None:
    given = states(counts, *heads)
    wide = [one.repeat_interleave(4 // one.shape[1], dim=1) for one in given]
    mask = apart(counts, SIGHTS[sight])
    expected = scaled_dot_product_attention(*wide, attn_mask=mask, scale=0.3).transpose(1, 2)
    found = attend_apart(*given, counts, dropout=0.0, scaling=0.3, sight=SIGHTS[sight])  # type: ignore[misc]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(found, given), gradients(expected, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("counts", COUNTED)
@pytest.mark.parametrize("sight", SIGHTS)
def test_one_token_of_each_text_may_ask(counts: list[int], sight: str) -> None:
    query, key, value = states(counts, 2, 2, 2)
    starts = torch.tensor([sum(counts[:place]) for place in range(len(counts))])
    whole = attend_apart(query, key, value, counts, dropout=0.0, scaling=0.3, sight=SIGHTS[sight])
    found = attend_apart(query[:, :, starts], key, value, counts, dropout=0.0, scaling=0.3, sight=SIGHTS[sight])
    torch.testing.assert_close(found, whole[:, starts], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sight", ["all", "before"])
def test_what_is_dropped_leaves_the_mean(sight: str) -> None:
    given = states([4, 2, 2], 2, 2, 2)
    kept = {"scaling": 0.3, "sight": SIGHTS[sight]}
    with torch.no_grad():
        plain = attend_apart(*given, [4, 2, 2], dropout=0.0, **kept)  # type: ignore[misc, arg-type]
        many = torch.stack([attend_apart(*given, [4, 2, 2], dropout=0.3, **kept) for _ in range(3000)])  # type: ignore[misc, arg-type]
    assert float((many.mean(dim=0) - plain).abs().max()) < 6 * float(many.std(dim=0).max()) / 3000**0.5
    assert float(many.std(dim=0).max()) > 0


@pytest.mark.parametrize("unknown", ["position_bias", "softcap", "s_aux"])
def test_what_is_not_known_for_texts_end_to_end_is_refused(unknown: str) -> None:
    counts = torch.tensor([4, 2], dtype=COUNTS).view(1, 1, 1, 2)
    with pytest.raises(ValueError, match=unknown):
        attention(nn.Module(), *states([4, 2], 2, 2, 2), counts, **{unknown: 1.0})  # type: ignore[misc, arg-type]


def test_kernels_are_told_how_far_each_reads() -> None:
    assert [sight.window(9) for sight in SIGHTS.values()] == [(-1, -1), (-1, 0), (2, 0), (2, 2)]
    assert Sight(2, 2).window(3) == (-1, -1)


def test_a_cpu_has_no_kernel_for_texts_of_different_lengths() -> None:
    states = torch.randn(1, 2, 6, 8, dtype=torch.bfloat16)
    assert not has_kernel(states, states, dropout=0.0)


def test_the_kernel_of_gpus_is_called_as_torch_wants_it() -> None:
    """Shapes and types alone: nothing is computed."""
    given = [torch.empty(1, heads, 6, 16, device="meta", dtype=torch.bfloat16) for heads in (4, 2, 2)]
    read = by_kernel(*given, [4, 2], [4, 2], 0.25, Sight(after=0))
    first = by_kernel(given[0][:, :, :2], given[1], given[2], [1, 1], [4, 2], 0.25, ALL)
    assert (read.shape, read.dtype) == ((1, 6, 4, 16), torch.bfloat16)
    assert first.shape == (1, 2, 4, 16)


def masks() -> dict[str, Tensor | None]:
    allowed = torch.rand(3, 1, 7, 7) > 0.3
    allowed[..., 0] = True
    return {"none": None, "bool": allowed, "added": torch.zeros(allowed.shape).masked_fill(~allowed, -1e9)}


@pytest.mark.parametrize("mask", ["none", "bool", "added"])
def test_attention_that_happens_to_drop_nothing_is_torchs_grown(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        room, "drawn", lambda shapes, *_: [torch.full(shape, -1, dtype=torch.int32) for shape in shapes]
    )
    of_torch = [torch.randn(SHAPE, requires_grad=True) for _ in range(3)]
    ours = [one.detach().clone().requires_grad_() for one in of_torch]
    chosen = masks()[mask]
    expected = scaled_dot_product_attention(*of_torch, attn_mask=chosen, scale=0.5) / 0.75
    (found,) = dropping(*([one] for one in ours), [chosen], dropout=0.25, scaling=0.5)  # type: ignore[misc]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(found, ours), gradients(expected, of_torch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask", ["none", "bool", "added"])
def test_the_gradient_is_that_of_what_was_kept(mask: str) -> None:
    chosen = masks()[mask]
    chosen = chosen if chosen is None else chosen[:, :, :4, :4]
    given = [torch.randn(3, 2, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(6)]

    def read(*states: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(7)
        return tuple(dropping(states[:2], states[2:4], states[4:], [chosen, None], dropout=0.3, scaling=0.5))

    assert torch.autograd.gradcheck(read, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_that_drops_has_the_same_mean(dtype: torch.dtype) -> None:
    asked = [torch.randn(SHAPE).to(dtype) for _ in range(3)]
    plain = scaled_dot_product_attention(*(one.float() for one in asked), scale=0.5)
    runs: list[Any] = [[one] for one in asked]
    many = torch.stack([dropping(*runs, [None], dropout=0.3, scaling=0.5)[0].float() for _ in range(4000)])
    near = 6 * float(many.std(dim=0).max()) / 4000**0.5 + (0.02 if dtype == torch.bfloat16 else 0.0)
    assert float((many.mean(dim=0) - plain).abs().max()) < near
    assert float(many.std()) > 0


def test_padded_texts_draw_where_they_are_masked_or_see_all_and_are_transformers_own_elsewhere() -> None:
    module, asked = nn.Module(), [torch.randn(SHAPE) for _ in range(3)]
    module.is_causal = False  # type: ignore[assignment]
    first, second = (attention(module, *asked, None, dropout=0.5)[0] for _ in range(2))  # type: ignore[misc]
    assert first.shape == (3, 7, 2, 8)
    assert not torch.equal(first, second)
    causal, _ = attention(module, *asked, None, dropout=0.0, is_causal=True)  # type: ignore[misc]
    assert torch.allclose(causal[:, 0], asked[2][:, :, 0], atol=1e-6), "the first position reads itself alone"


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2"])
def test_a_model_says_what_it_said_before_and_what_is_saved_does_not_know(kind: str, tmp_path: Path) -> None:
    model = model_of(kind).eval()
    texts: dict[str, Any] = {"input_ids": torch.randint(5, 50, (2, 9))}
    texts["attention_mask"] = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    before = model(**texts).logits
    model.save_pretrained(tmp_path / "before")
    attend_here(nn.ModuleDict({"pupil": model}))
    assert model.config._attn_implementation == ATTENTION
    torch.testing.assert_close(model(**texts).logits, before, rtol=1e-5, atol=1e-5)
    model.save_pretrained(tmp_path / "after")
    one, other = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("before", "after"))
    assert other == one
