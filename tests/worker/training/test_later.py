"""What goes on beside a training is over when it is, in order, and its errors are told."""

import threading

import pytest

from worker.training.later import Later


def test_pieces_come_one_after_the_other_and_are_over_at_the_end() -> None:
    heard: list[int] = []
    gate = threading.Event()

    def first() -> None:
        gate.wait(30)
        heard.append(1)

    with Later() as later:
        later.begin(first)
        assert not heard, "nobody waits for it"
        gate.set()
        for number in (2, 3):
            later.begin(lambda number=number: heard.append(number))
    assert heard == [1, 2, 3]


@pytest.mark.parametrize("then", [lambda later: later.begin(lambda: None), lambda later: later.wait()])
def test_an_error_is_raised_where_somebody_waits_and_once(then) -> None:  # type: ignore[no-untyped-def]
    later = Later()
    later.begin(_fails)
    with pytest.raises(OSError, match="no space"):
        then(later)
    later.wait()


def test_an_error_ends_the_training_that_it_came_out_of() -> None:
    with pytest.raises(OSError, match="no space"), Later() as later:
        later.begin(_fails)


def test_the_trainings_own_error_is_told_first() -> None:
    def train() -> None:
        with Later() as later:
            later.begin(_fails)
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        train()


def _fails() -> None:
    raise OSError("no space")


def test_what_is_over_can_be_asked_for_without_waiting() -> None:
    gate = threading.Event()
    with Later() as later:
        later.begin(lambda: _waits(gate))
        later.check()
        gate.set()
    later.begin(_fails)
    with pytest.raises(OSError, match="no space"):  # noqa: PT012 - as soon as it is over
        while True:
            later.check()


def _waits(gate: threading.Event) -> None:
    gate.wait(30)
