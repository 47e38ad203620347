"""Curves as inline SVG, drawn from what the phases logged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 30
MOST_POINTS = 60


@dataclass(frozen=True)
class Line:
    """One curve: `tone` is the number of its colour in the style sheet; points are (step, value)."""

    title: str
    tone: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A drawn chart: paths and ticks in the coordinates of a WIDTH x HEIGHT box."""

    title: str
    lines: Sequence[tuple[Line, str]]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def series(history: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """Return (step, value) of one series of a phase's log."""
    return [(float(entry["step"]), float(entry[name])) for entry in history if name in entry and "step" in entry]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most MOST_POINTS points, each the mean of its neighbours."""
    size = math.ceil(len(points) / MOST_POINTS) or 1
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def chart(title: str, lines: Sequence[Line]) -> Chart | None:
    """Draw lines into one chart; None where there is nothing to draw."""
    drawn = [Line(line.title, line.tone, thinned(line.points)) for line in lines if len(line.points) > 1]
    if not drawn:
        return None
    steps = [x for line in drawn for x, _ in line.points]
    values = [y for line in drawn for _, y in line.points]
    x_ticks, y_ticks = ticks(min(steps), max(steps)), ticks(min(values), max(values))
    low, high = min(*y_ticks, min(values)), max(*y_ticks, max(values))
    start, end = min(steps), max(steps)

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - start) / ((end - start) or 1)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / ((high - low) or 1)

    paths = [(line, "M" + "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line.points)) for line in drawn]
    return Chart(
        title,
        paths,
        [(across(x), f"{x:,.0f}") for x in x_ticks if start <= x <= end],
        [(up(y), f"{y:g}") for y in y_ticks],
    )


def ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers that span low to high."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [round(place * step, 10) for place in range(first, last + 1)]
