"""A sweep's table: a line for each combination of values, with what its student is worth."""

import json
from collections.abc import Callable
from typing import Any

from rich.table import Table

from distill_client.cli import formats
from distill_client.cli.output import is_terminal, out, status_text, styled, table, write, write_table
from distill_client.shapes import Sweep, SweepPoint

WIDE = 150
"""Columns of a terminal that has room for everything."""

LOSSES = ("loss", "completions_loss")
Figure = Callable[[SweepPoint], str]
NARROW_FIGURES: dict[str, Figure] = {
    "AGREEMENT": lambda point: formats.percent(point.agreement),
    "KL": lambda point: formats.number(point.kl_to_teacher),
    "SIZE": lambda point: formats.size(point.bytes),
    "LATENCY": lambda point: f"{formats.number(point.latency_ms, 1)} ms" if point.latency_ms else formats.ABSENT,
}
WIDE_FIGURES: dict[str, Figure] = {
    "PARAMETERS": lambda point: formats.count(point.parameters),
    "SPEED": lambda point: f"{formats.number(point.per_second, 0)}/s" if point.per_second else formats.ABSENT,
    "JOB": lambda point: point.job_id or formats.ABSENT,
}


def show_sweep(found: Sweep) -> None:
    write_table(table_of(found))
    best = found.best_point
    if best is not None:
        quality = _quality(best.quality, found.measure)
        write(styled(f"Best: {values_of(best)}, {found.measure} {quality}", "bold"))
        write(f"Report: distill report {best.job_id}    Student: distill download {best.job_id}")


def table_of(found: Sweep) -> Table:
    """A line for each point. `front` stands behind those that no other beats in quality, size and latency at once."""
    figures = {
        (found.measure or "quality").upper(): lambda point: _quality(point.quality, found.measure),
        "GAIN": lambda point: _gain(point.gain, found.measure),
        **NARROW_FIGURES,
        **(WIDE_FIGURES if not is_terminal() or out.width >= WIDE else {}),
    }
    paths = list(found.grid)
    made = table(*(styled(path).plain for path in paths), "STATUS", "", *figures, right=(*paths, *figures))
    for point in found.points:
        mark = _mark(point, found)
        values = [styled(_shown(point.values.get(path))) for path in paths]
        cells = [styled(figure(point), "bold" if mark == "best" else "") for figure in figures.values()]
        made.add_row(*values, status_text(point.status or "deleted"), styled(mark), *cells)
    return made


def values_of(point: SweepPoint) -> str:
    """`T=2, alpha=0.5`."""
    return ", ".join(f"{path}={_shown(value)}" for path, value in point.values.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _mark(point: SweepPoint, found: Sweep) -> str:
    if point.job_id is not None and point.job_id == found.best:
        return "best"
    return "front" if point.job_id in found.front else point.error or ""


def _quality(value: float | None, measure: str | None) -> str:
    return formats.number(value) if measure in LOSSES else formats.percent(value)


def _gain(value: float | None, measure: str | None) -> str:
    if measure not in LOSSES:
        return formats.points(value)
    return formats.ABSENT if value is None else f"{value:+.3f}"
