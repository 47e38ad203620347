"""Which students are worth having: those that no other one beats."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

KeyT = TypeVar("KeyT")


@dataclass(frozen=True, order=True)
class Worth:
    """What a student is measured by. Less is better in each; in this order where one must be chosen."""

    badness: float
    """A loss, or minus an accuracy."""
    bytes: int
    latency_ms: float


def beats(one: Worth, other: Worth) -> bool:
    """Whether one is as good as the other in everything and better in something (Pareto dominance)."""
    pairs = ((one.badness, other.badness), (one.bytes, other.bytes), (one.latency_ms, other.latency_ms))
    return all(own <= theirs for own, theirs in pairs) and any(own < theirs for own, theirs in pairs)


def pareto_front(worths: Mapping[KeyT, Worth]) -> list[KeyT]:
    """Return those that nobody beats, the smallest first. Equals do not beat each other."""
    front = [key for key, own in worths.items() if not any(beats(other, own) for other in worths.values())]
    return sorted(front, key=lambda key: (worths[key].bytes, worths[key].latency_ms, worths[key].badness))


def best_of(worths: Mapping[KeyT, Worth]) -> KeyT | None:
    """Return the one of the best quality; of several, the smallest and then the quickest."""
    return min(worths, key=lambda key: worths[key], default=None)


def with_one_clock(worths: Mapping[KeyT, Worth], shapes: Mapping[KeyT, tuple[int, ...]]) -> dict[KeyT, Worth]:
    """Give students of the same shape the median of their latencies.

    Students that differ in their weights alone are equally fast; that one was measured on a busier machine must not
    decide whether it is beaten.
    """
    latencies: dict[tuple[int, ...], list[float]] = {}
    for key, worth in worths.items():
        latencies.setdefault(shapes[key], []).append(worth.latency_ms)
    return {key: replace(worth, latency_ms=statistics.median(latencies[shapes[key]])) for key, worth in worths.items()}
