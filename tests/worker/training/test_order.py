from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.training.order import LengthGroupedSteps, even_cuts

LENGTHS = np.random.default_rng(0).integers(3, 60, 500)
SKEWED = np.exp(np.random.default_rng(0).normal(np.log(43), 0.7, 500)).astype(np.int64).clip(10, 256)


def steps(
    step_examples: int = 16,
    seed: int = 0,
    epoch: int = 0,
    lengths: np.ndarray = LENGTHS,
    micro_batches: int = 1,
    is_even: bool = False,
) -> list[list[int]]:
    sampler = LengthGroupedSteps(lengths, step_examples, seed, micro_batches, is_even=is_even)
    sampler.set_epoch(epoch)
    return [[int(place) for part in step for place in part] for step in sampler]


def positions(lengths: np.ndarray, step: Sequence[int] | np.ndarray) -> int:
    """How many a batch has, padded to its longest."""
    return len(step) * int(lengths[step].max())


def padded(found: list[list[int]]) -> int:
    return sum(int(LENGTHS[step].max() * len(step) - LENGTHS[step].sum()) for step in found)


@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=300),
    st.integers(1, 40),
    st.integers(0, 99),
    st.integers(0, 9),
    st.booleans(),
)
@settings(max_examples=100)
def test_every_example_comes_once_in_as_many_steps_as_are_said(
    lengths: list[int], step_examples: int, seed: int, epoch: int, is_even: bool
) -> None:
    found = steps(step_examples, seed, epoch, np.array(lengths), is_even=is_even)
    assert sorted(place for step in found for place in step) == list(range(len(lengths)))
    assert len(found) == len(LengthGroupedSteps(np.array(lengths), step_examples, seed, is_even=is_even))
    assert all(found)


@pytest.mark.parametrize("is_even", [False, True])
def test_micro_batches_change_no_step_and_share_it_evenly(is_even: bool) -> None:
    assert steps(micro_batches=3, is_even=is_even) == steps(is_even=is_even)
    sampler = LengthGroupedSteps(SKEWED, 64, 0, 4, is_even=is_even)
    for step in list(sampler)[:-1]:
        sizes = [positions(SKEWED, part) if is_even else len(part) for part in step]
        assert len(sizes) == 4
        assert max(sizes) - min(sizes) <= (2 * SKEWED[step[0]].max() if is_even else 1)


@pytest.mark.parametrize("is_even", [False, True])
def test_they_depend_on_seed_and_epoch_alone(is_even: bool) -> None:
    assert steps(is_even=is_even) == steps(is_even=is_even)
    assert steps(epoch=1, is_even=is_even) != steps(epoch=0, is_even=is_even)
    assert steps(seed=1, is_even=is_even) != steps(seed=0, is_even=is_even)
    before = steps(is_even=is_even)
    np.random.seed(3)  # the global generator shall not matter
    assert steps(is_even=is_even) == before


@pytest.mark.parametrize("is_even", [False, True])
def test_padding_is_a_fraction_of_what_a_random_order_needs(is_even: bool) -> None:
    random = np.split(np.random.default_rng(1).permutation(len(LENGTHS)), range(16, len(LENGTHS), 16))
    assert padded(steps(is_even=is_even)) < padded([step.tolist() for step in random]) / 5


def test_the_longest_step_comes_first() -> None:
    assert LENGTHS[steps()[0]].max() == LENGTHS.max()


def test_steps_of_equally_many_examples_are_whole_but_for_the_last() -> None:
    *whole, last = steps()
    assert {len(step) for step in whole} == {16}
    assert len(last) == 4
    assert LENGTHS[last].max() <= np.median(LENGTHS)


def test_even_steps_have_about_equally_many_positions_and_the_largest_comes_first() -> None:
    even = [positions(SKEWED, step) for step in steps(lengths=SKEWED, is_even=True)]
    assert even[0] == max(even)
    assert max(even) - min(even) <= SKEWED.max()
    by_count = [positions(SKEWED, step) for step in steps(lengths=SKEWED)]
    assert max(by_count) - min(by_count) > 5 * SKEWED.max()


@pytest.mark.parametrize("micro_batches", [1, 2, 8])
def test_where_lengths_jump_no_short_text_is_padded_to_a_long_one(micro_batches: int) -> None:
    lengths = np.repeat([200, 3], 480)
    sampler = LengthGroupedSteps(lengths, 32, 0, micro_batches, is_even=True)
    found = [positions(lengths, part) for step in sampler for part in step]
    assert max(found) <= lengths.sum() / (30 * micro_batches) + lengths.max()


def test_examples_of_one_length_make_even_steps_equal() -> None:
    assert {len(step) for step in steps(lengths=np.ones(480, dtype=np.int64), is_even=True)} == {16}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.integers(1, 9))
@settings(max_examples=200)
def test_no_other_cut_has_a_smaller_largest_part(tokens: list[int], parts: int) -> None:
    falling, parts = np.sort(np.array(tokens))[::-1], min(parts, len(tokens))

    def largest(cuts: Sequence[int]) -> int:
        return max(int(part[0]) * len(part) for part in np.split(falling, cuts))

    found = even_cuts(falling, parts)
    assert len(found) == parts - 1
    assert sorted(set(found)) == found
    assert largest(found) == min(largest(cuts) for cuts in combinations(range(1, len(falling)), parts - 1))
