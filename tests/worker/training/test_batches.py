"""Texts are read once each, in batches that waste little on padding and fit into memory."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.training.batches import FILLING, SIMILAR, in_batches, similar

Batches = list[NDArray[np.int64]]
LENGTHS = st.lists(st.integers(1, 600), min_size=0, max_size=80).map(lambda some: np.array(some, dtype=np.int64))


def batches_of(lengths: NDArray[np.int64], most: int) -> Batches:
    found: Batches = []
    in_batches(lengths, most, found.append)
    return found


@given(LENGTHS, st.integers(1, 40))
def test_every_text_is_read_once_the_longest_first(lengths: NDArray[np.int64], most: int) -> None:
    found = batches_of(lengths, most)
    read = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    assert sorted(read.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[read]) <= 0).all()
    assert all(1 <= len(batch) <= most for batch in found)


@given(LENGTHS)
def test_a_batch_that_fills_the_device_holds_similar_lengths_beyond_it(lengths: NDArray[np.int64]) -> None:
    for batch in batches_of(lengths, 32):
        longest = lengths[batch[0]]
        filled = int(np.ceil(FILLING["cpu"] / longest))
        assert (lengths[batch[filled:]] >= SIMILAR * longest).all()


def test_texts_of_very_different_lengths_are_not_padded_to_the_longest() -> None:
    lengths = np.array([400, *[40] * 31])
    assert similar(lengths, 512) == 2
    assert similar(lengths, 16_384) == 32


def test_texts_of_one_length_are_one_batch() -> None:
    assert [len(batch) for batch in batches_of(np.full(70, 300), 32)] == [32, 32, 6]


def test_without_padding_a_batch_may_hold_any_lengths() -> None:
    sizes: list[int] = []
    in_batches(np.arange(1, 71) * 9, 32, lambda places: sizes.append(len(places)), is_padded=False)
    assert sizes == [32, 32, 6]


def test_a_batch_that_does_not_fit_is_halved_and_none_after_it_is_larger() -> None:
    sizes = []

    def read(places: NDArray[np.int64]) -> None:
        sizes.append(len(places))
        if len(places) > 5:
            raise MemoryError

    in_batches(np.full(16, 100), 16, read)
    assert sizes == [16, 8, 4, 4, 4, 4]


@pytest.mark.parametrize("error", [MemoryError(), ValueError("something else")])
def test_what_a_smaller_batch_does_not_mend_is_raised(error: Any) -> None:
    def read(places: NDArray[np.int64]) -> None:
        raise error

    with pytest.raises(type(error)):
        in_batches(np.full(16, 100), 16, read)
