"""Few models are in memory; one in use stays; each is loaded once however many ask."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from core.errors import ModelUnreadable
from core.serving import ServingOutOfMemory
from serving.residents import Residents


class Loads:
    """Counts how often each model was loaded."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def of(self, key: str, seconds: float = 0.0) -> Callable[[], str]:
        def load() -> str:
            self.counts[key] += 1
            time.sleep(seconds)
            return f"model {key}"

        return load


def residents(most: int = 2, most_bytes: int = 100) -> Residents[str]:
    return Residents(most, most_bytes, lambda: None)


def ask(kept: Residents[str], loads: Loads, key: str, size: int = 10) -> str:
    with kept.borrowed(key, size, loads.of(key), lambda: None) as model:
        return model


def test_the_longest_unused_leaves_first() -> None:
    kept, loads = residents(most=2), Loads()
    for key in ("a", "b", "a", "c"):
        assert ask(kept, loads, key) == f"model {key}"
    assert kept.keys == ["a", "c"]
    assert loads.counts == {"a": 1, "b": 1, "c": 1}


def test_as_many_leave_as_the_new_one_needs_bytes() -> None:
    kept, loads = residents(most=9, most_bytes=100), Loads()
    for key in ("a", "b", "c"):
        ask(kept, loads, key, size=30)
    ask(kept, loads, "large", size=60)
    assert kept.keys == ["c", "large"]


def test_a_model_larger_than_all_memory_is_refused_and_nothing_leaves() -> None:
    kept, loads = residents(), Loads()
    ask(kept, loads, "a")
    with pytest.raises(ServingOutOfMemory, match="101 bytes"):
        ask(kept, loads, "large", size=101)
    assert kept.keys == ["a"]


def test_many_who_ask_for_one_model_at_once_load_it_once() -> None:
    kept, loads = residents(), Loads()

    def one(_: int) -> str:
        with kept.borrowed("a", 10, loads.of("a", seconds=0.05), lambda: None) as model:
            return model

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(8))) == {"model a"}
    assert loads.counts == {"a": 1}


def test_a_model_in_use_stays_and_who_needs_its_room_waits_for_it() -> None:
    kept, loads = residents(most=1), Loads()
    waited = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with kept.borrowed("a", 10, loads.of("a"), lambda: None):
            other = pool.submit(lambda: kept.borrowed("b", 10, loads.of("b"), waited.set).__enter__())
            assert waited.wait(5)
            assert not other.done()
            assert kept.keys == ["a"]
        assert other.result(5) == "model b"
    assert kept.keys == ["b"]


def test_who_waits_may_give_up() -> None:
    kept, loads = residents(most=1), Loads()

    def gone() -> None:
        raise ConnectionError

    with kept.borrowed("a", 10, loads.of("a"), lambda: None), pytest.raises(ConnectionError), ExitStack() as stack:
        stack.enter_context(kept.borrowed("b", 10, loads.of("b"), gone))


def test_a_load_that_fails_leaves_no_place_taken() -> None:
    kept, loads = residents(), Loads()

    def broken() -> str:
        raise ModelUnreadable("a", "it is empty")

    with pytest.raises(ModelUnreadable), ExitStack() as stack:
        stack.enter_context(kept.borrowed("a", 10, broken, lambda: None))
    assert kept.keys == []
    assert ask(kept, loads, "a") == "model a"


def test_models_that_nobody_uses_leave_after_a_while_and_those_in_use_do_not() -> None:
    kept, loads = residents(), Loads()
    ask(kept, loads, "a")
    with kept.borrowed("b", 10, loads.of("b"), lambda: None):
        assert kept.leave_unused(60) == 0
        assert kept.leave_unused(0) == 1
        assert kept.keys == ["b"]
