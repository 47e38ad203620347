"""Jitter: exact, the same for the same step and image whatever the batch, and seen by the teacher too."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from worker.training.images.augment import Jitter, Lesson, shifted
from worker.training.images.pixels import Pixels

COUNT = 9
whole_numbers = st.integers(-3, 3)


def pixels_of(height: int = 6, width: int = 5, seed: int = 0) -> Pixels:
    stored = np.random.default_rng(seed).integers(1, 256, (COUNT, 1, height, width), dtype=np.uint8)
    return Pixels(stored, torch.full((1, 1, 1), 1 / 255), torch.zeros(1, 1, 1))


def batch_of(pixels: Pixels, rows: list[int]) -> dict[str, Any]:
    return {"rows": torch.tensor(rows), "inputs": pixels.batch(rows)}


def values(batch: dict[str, Any]) -> Tensor:
    found: Tensor = batch["inputs"]["pixel_values"]
    return found


@settings(max_examples=40)
@given(st.lists(st.tuples(whole_numbers, whole_numbers), min_size=1, max_size=COUNT))
def test_an_image_is_shifted_by_whole_pixels_and_the_rest_is_empty(shifts: list[tuple[int, int]]) -> None:
    images = pixels_of().batch(range(len(shifts)))["pixel_values"]
    moved = shifted(images, torch.tensor(shifts), torch.full((1, 1, 1), -7.0))
    for before, after, (down, right) in zip(images, moved, shifts, strict=True):
        rolled = torch.roll(before, (down, right), (1, 2))
        empty = torch.ones_like(before, dtype=torch.bool)
        empty[:, max(0, down) : 6 + min(0, down), max(0, right) : 5 + min(0, right)] = False
        assert after.equal(torch.where(empty, -7.0, rolled))


@settings(max_examples=20)
@given(st.permutations(range(COUNT)), st.integers(1, COUNT - 1), st.integers(0, 50))
def test_an_image_is_shifted_alike_in_whatever_micro_batch_it_stands(order: list[int], cut: int, step: int) -> None:
    pixels = pixels_of()
    jitter = Jitter(2, 1, pixels)
    together = values(jitter(batch_of(pixels, order), step))
    apart = [values(jitter(batch_of(pixels, part), step)) for part in (order[:cut], order[cut:])]
    assert torch.cat(apart).equal(together)


def test_shifts_differ_by_step_and_seed_and_reach_the_most_in_every_direction() -> None:
    jitter = Jitter(2, 1, pixels_of())
    drawn = np.concatenate([jitter.shifts(step) for step in range(100)])
    assert {(int(down), int(right)) for down, right in drawn} == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    assert not np.array_equal(jitter.shifts(1), jitter.shifts(2))
    assert not np.array_equal(jitter.shifts(1), Jitter(2, 2, pixels_of()).shifts(1))
    assert np.array_equal(jitter.shifts(1), Jitter(2, 1, pixels_of()).shifts(1))


class Eye(nn.Module):
    """Says what it sees: its logits are the pixels."""

    def forward(self, pixel_values: Tensor) -> ImageClassifierOutputWithNoAttention:
        return ImageClassifierOutputWithNoAttention(logits=pixel_values.flatten(1))


@pytest.mark.parametrize("factor", [1, 3])
def test_the_teacher_sees_the_same_shift_in_its_own_size(factor: int) -> None:
    pixels = pixels_of()
    larger = Pixels(pixels.pixels.repeat(factor, 2).repeat(factor, 3), pixels.scale, pixels.offset)
    lesson = Lesson([(Eye(), larger if factor > 1 else pixels)], [1.0], 2.0, "fp32")  # type: ignore[list-item]
    changed = Jitter(2, 1, pixels, lesson)(batch_of(pixels, [4, 0, 7]), 5)
    seen = changed["teacher_logits"].reshape(3, 1, 6 * factor, 5 * factor)
    assert seen[:, :, ::factor, ::factor].equal(values(changed))
    assert values(changed).equal(values(Jitter(2, 1, pixels)(batch_of(pixels, [4, 0, 7]), 5)))
