"""The report's table in words, the same on the page and on the card."""

import re
from collections.abc import Callable

from core.report import ClassificationReport, Quality


def share(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"


def nats(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def count(value: float) -> str:
    """Return 4386178 as "4.4 M"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def bytes_(value: float) -> str:
    return f"{count(value)}B" if value >= 1e3 else f"{value:.0f} B"


def written(text: str | None) -> str:
    """Return what a model wrote so that it is seen: nothing and white space are named, empty lines are few."""
    if not text:
        return "(nothing: it ended at once)"
    if not text.strip():
        return "(white space alone)"
    return re.sub(r"\n\s*\n\s*\n", "\n\n", text).strip("\n")


QUALITY_ROWS: list[tuple[str, Callable[[Quality], str]]] = [
    ("Accuracy", lambda q: share(q.accuracy)),
    ("Wrong", lambda q: "n/a" if q.errors is None else f"{q.errors:,}"),
    ("Macro F1", lambda q: share(q.macro_f1)),
    ("Cross-entropy, nats", lambda q: nats(q.ce_loss)),
    ("Agreement with teacher", lambda q: share(q.agreement)),
    ("KL to teacher, nats", lambda q: nats(q.kl_to_teacher)),
    ("Parameters", lambda q: count(q.parameters)),
    ("Size of float32 weights", lambda q: bytes_(q.bytes)),
    ("Latency of one example", lambda q: f"{q.latency_ms:.1f} ms"),
    ("Throughput", lambda q: f"{q.examples_per_second:,.0f} /s"),
]


def models_of(report: ClassificationReport) -> list[tuple[str, Quality]]:
    """Return the columns of the table, the teacher first where there is one."""
    members = [(f"Teacher {name}", quality) for name, quality in report.teachers.items()]
    columns = [("Teacher" if not members else "Teachers together", report.teacher)] if report.teacher else []
    columns += members
    columns += [("Student before", report.student_before), ("Student", report.student_after)]
    if report.baseline is not None:
        columns.append(("Labels alone", report.baseline))
    return columns
