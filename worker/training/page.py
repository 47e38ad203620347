"""The report as one HTML file that needs no network and runs no script."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from core.report import ClassificationReport
from core.spec import JobSpec
from worker.training import charts
from worker.training.charts import Chart, Line, chart, series
from worker.training.words import QUALITY_ROWS, bytes_, count, models_of, share, written

History = Sequence[Mapping[str, float]]


def report_page(
    spec: JobSpec, report: ClassificationReport, curves: Mapping[str, History], provenance: Mapping[str, Any]
) -> str:
    """Return report.html. All that users wrote is escaped by the template engine."""
    return (
        page_environment()
        .get_template("classes.html")
        .render(
            title=spec.output.model or spec.name or "Distillation report",
            spec=spec,
            report=report,
            models=models_of(report),
            rows=QUALITY_ROWS,
            charts=drawn(curves),
            box=charts,
            class_columns=list(report.classes[0].f1) if report.classes else [],
            class_titles=CLASS_TITLES,
            spec_text=json.dumps(spec.model_dump(mode="json"), indent=2, ensure_ascii=False),
            provenance_text=json.dumps(dict(provenance), indent=2, ensure_ascii=False, default=str),
        )
    )


def page_environment() -> Environment:
    """Return the template engine for pages: it escapes all that it is given."""
    environment = Environment(
        loader=PackageLoader("worker.training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "count": count, "bytes": bytes_, "written": written}
    return environment


CLASS_TITLES = {
    "teacher": "Teacher",
    "student_before": "Student before",
    "student_after": "Student",
    "baseline": "Labels alone",
}


def drawn(curves: Mapping[str, History]) -> list[Chart]:
    """Return the charts that the phases' logs can fill."""
    student, baseline = curves.get("student", ()), curves.get("baseline", ())
    training = [
        Line("Loss", 0, series(student, "loss")),
        Line("From the teacher (kd)", 1, series(student, "kd_loss")),
        Line("From labels (ce)", 2, series(student, "ce_loss")),
        Line("Labels alone (ce)", 3, series(baseline, "loss")),
    ]
    accuracy = [
        Line("Student", 0, series(student, "validation/accuracy")),
        Line("Labels alone", 3, series(baseline, "validation/accuracy")),
    ]
    closeness = [
        Line("Agreement with teacher", 1, series(student, "validation/agreement")),
        Line("KL to teacher", 2, series(student, "validation/kl")),
    ]
    loss = [
        Line("Student", 0, series(student, "validation/loss")),
        Line("Labels alone", 3, series(baseline, "validation/loss")),
    ]
    found = [
        chart("Training loss by step, nats", training),
        chart("Validation accuracy", accuracy),
        chart("Validation: closeness to the teacher", closeness),
        chart("Validation loss, nats", loss),
    ]
    return [one for one in found if one is not None]
