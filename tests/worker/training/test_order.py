import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.training.order import LengthGroupedOrder

LENGTHS = np.random.default_rng(0).integers(3, 60, 500)


def order(step_examples: int = 16, seed: int = 0, epoch: int = 0, lengths: np.ndarray = LENGTHS) -> list[int]:
    sampler = LengthGroupedOrder(lengths, step_examples, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 99), st.integers(0, 9)
)
@settings(max_examples=50, deadline=None)
def test_every_example_comes_once(lengths: list[int], step_examples: int, seed: int, epoch: int) -> None:
    found = order(step_examples, seed, epoch, np.array(lengths))
    assert sorted(found) == list(range(len(lengths)))


def test_it_depends_on_seed_and_epoch_alone() -> None:
    assert order() == order()
    assert order(epoch=1) != order(epoch=0)
    assert order(seed=1) != order(seed=0)
    np.random.seed(3)  # the global generator shall not matter
    assert order() == order()


def test_padding_is_a_fraction_of_what_a_random_order_needs() -> None:
    def padded(places: list[int]) -> int:
        steps = [LENGTHS[places[at : at + 16]] for at in range(0, len(places), 16)]
        return sum(int(step.max() * len(step) - step.sum()) for step in steps)

    random = np.random.default_rng(1).permutation(len(LENGTHS)).tolist()
    assert padded(order()) < padded(random) / 5


def test_the_longest_step_comes_first_and_the_broken_one_last() -> None:
    found = order()
    assert LENGTHS[found[0]] == LENGTHS.max()
    assert len(found) % 16 == 4
    assert LENGTHS[found[-4:]].max() <= np.median(LENGTHS)
