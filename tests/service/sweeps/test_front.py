"""The laws of the front: nobody on it is beaten, everybody off it is, and nothing else matters."""

import random
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from service.sweeps.front import Worth, beats, best_of, pareto_front, with_one_clock

FEW = st.integers(0, 4)
WORTH = st.builds(Worth, badness=st.floats(-1, 3, width=16), bytes=FEW, latency_ms=FEW.map(float))
WORTHS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), WORTH, max_size=12)


@given(WORTHS)
def test_nobody_on_the_front_is_beaten_and_everybody_else_is_by_one_of_it(worths: dict[str, Worth]) -> None:
    front = pareto_front(worths)
    assert len(front) == len(set(front))
    for key, own in worths.items():
        beaten_by_front = any(beats(worths[other], own) for other in front)
        assert beaten_by_front == (key not in front)


@given(WORTHS)
def test_the_best_of_each_kind_is_on_the_front(worths: dict[str, Worth]) -> None:
    best, front = best_of(worths), pareto_front(worths)
    if not worths:
        assert (best, front) == (None, [])
        return
    assert best in front
    assert worths[best].badness == min(worth.badness for worth in worths.values())
    assert worths[front[0]].bytes == min(worth.bytes for worth in worths.values())
    assert min(worths[key].latency_ms for key in front) == min(worth.latency_ms for worth in worths.values())


@given(WORTHS, st.randoms(use_true_random=False))
def test_the_order_of_asking_does_not_matter(worths: dict[str, Worth], dice: random.Random) -> None:
    shuffled = list(worths.items())
    dice.shuffle(shuffled)
    assert set(pareto_front(dict(shuffled))) == set(pareto_front(worths))


@given(WORTHS, WORTH)
def test_one_more_only_takes_away_those_whom_it_beats(worths: dict[str, Worth], more: Worth) -> None:
    before, after = set(pareto_front(worths)), set(pareto_front({**worths, "one more": more}))
    assert before - after == {key for key in before if beats(more, worths[key])}
    assert after - before <= {"one more"}


@given(WORTH, WORTH, WORTH)
def test_beating_is_a_strict_order(a: Worth, b: Worth, c: Worth) -> None:
    assert not beats(a, a)
    assert not (beats(a, b) and beats(b, a))
    assert beats(a, c) or not (beats(a, b) and beats(b, c))


@given(WORTHS)
def test_students_of_one_shape_are_equally_fast(worths: dict[str, Worth]) -> None:
    shapes: Mapping[str, tuple[int, ...]] = {key: (worth.bytes,) for key, worth in worths.items()}
    clocked = with_one_clock(worths, shapes)
    for key, worth in clocked.items():
        same = [other for other in worths if shapes[other] == shapes[key]]
        assert {clocked[other].latency_ms for other in same} == {worth.latency_ms}
        measured = [worths[other].latency_ms for other in same]
        assert min(measured) <= worth.latency_ms <= max(measured)
        assert (worth.badness, worth.bytes) == (worths[key].badness, worths[key].bytes)


def test_a_busy_machine_puts_nobody_on_the_front() -> None:
    worse_but_lucky, better = Worth(-0.80, 100, 1.9), Worth(-0.84, 100, 2.1)
    worths = {"worse": worse_but_lucky, "better": better}
    assert set(pareto_front(worths)) == {"worse", "better"}
    assert pareto_front(with_one_clock(worths, dict.fromkeys(worths, (7, 100)))) == ["better"]
