"""The report's page and the student's card, for language models."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from core.report import GenerationReport, WritingQuality
from core.spec import JobSpec
from worker.training import charts
from worker.training.card import card_environment, hub_start, origins
from worker.training.charts import Chart, Line, chart, series
from worker.training.page import History, page_environment
from worker.training.words import bytes_, count, nats, share

ULD = "Distance of sorted probabilities, 0 to 2"
ROWS: list[tuple[str, Callable[[WritingQuality], str]]] = [
    ("Loss per token, nats", lambda q: nats(q.loss)),
    ("Perplexity", lambda q: f"{q.perplexity:,.1f}" if q.perplexity < 1e6 else f"{q.perplexity:.1e}"),
    ("KL to teacher per token, nats", lambda q: nats(q.kl_to_teacher)),
    ("Same choice as the teacher", lambda q: share(q.agreement)),
    (ULD, lambda q: nats(q.uld_to_teacher)),
    ("Distinct pairs of tokens", lambda q: share(q.distinct_2)),
    ("Parameters", lambda q: count(q.parameters)),
    ("Size of float32 weights", lambda q: bytes_(q.bytes)),
    ("Tokens per second, one text", lambda q: f"{q.tokens_per_second:,.0f}"),
]


def columns_of(report: GenerationReport, alone: str = "Texts alone") -> list[tuple[str, WritingQuality]]:
    """Return the columns of the table, the teacher first where it was measured; `alone` is the baseline's title."""
    members = [(f"Teacher {name}", one) for name, one in report.teachers.items()]
    first, last = "Teacher" if not members else "Teachers together", report.baseline
    columns = [(first, report.teacher)] if report.teacher is not None else []
    columns += [*members, ("Student before", report.student_before), ("Student", report.student_after)]
    return columns + ([(alone, last)] if last is not None else [])


def rows_of(report: GenerationReport) -> list[tuple[str, Callable[[WritingQuality], str]]]:
    """Return the rows of the table; the distance where no KL is measured."""
    return [row for row in ROWS if row[0] != ULD or report.alignment is not None]


def writing_page(
    spec: JobSpec, report: GenerationReport, curves: Mapping[str, History], provenance: Mapping[str, Any]
) -> str:
    """Return report.html. All that users and models wrote is escaped by the template engine."""
    return (
        page_environment()
        .get_template("writing.html")
        .render(
            title=spec.output.model or spec.name or "Distillation report",
            spec=spec,
            report=report,
            models=columns_of(report),
            rows=rows_of(report),
            charts=drawn(curves),
            box=charts,
            spec_text=json.dumps(spec.model_dump(mode="json"), indent=2, ensure_ascii=False),
            provenance_text=json.dumps(dict(provenance), indent=2, ensure_ascii=False, default=str),
        )
    )


def drawn(curves: Mapping[str, History]) -> list[Chart]:
    """Return the charts that the phases' logs can fill."""
    student, baseline = curves.get("student", ()), curves.get("baseline", ())
    both = (("Student", 0, student), ("Texts alone", 3, baseline))
    training = [
        Line("Loss", 0, series(student, "loss")),
        Line("From the teacher (kd)", 1, series(student, "kd_loss")),
        Line("From the texts (ce)", 2, series(student, "ce_loss")),
        Line("Texts alone (ce)", 3, series(baseline, "loss")),
    ]
    found = [
        chart("Training loss by step, nats per token", training),
        *(
            chart(title, [Line(name, tone, series(history, f"validation/{measure}")) for name, tone, history in both])
            for title, measure in (
                ("Validation: loss per token, nats", "ce"),
                ("Validation: KL to teacher at the training's T, nats", "kl"),
                ("Validation: same choice as the teacher", "agreement"),
                ("Validation: distance of sorted probabilities at the training's T", "uld"),
            )
        ),
    ]
    return [one for one in found if one is not None]


def writing_card(spec: JobSpec, report: GenerationReport) -> str:
    """Return README.md: the card's metadata, the verdict, the table, samples and how to load the student."""
    after = report.student_after
    measured = {"loss": after.loss, "perplexity": after.perplexity, "kl_to_teacher": after.kl_to_teacher}
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["knowledge-distillation", "text-generation"],
        base_model=hub_start(spec),
        model_name=spec.output.model or spec.name or "distilled-student",
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type=spec.dataset.id,
                dataset_name=spec.dataset.id,
                dataset_split=report.held_out,
                metric_type=name,
                metric_value=round(value, 6),
            )
            for name, value in measured.items()
            if value is not None
        ],
    )
    body = (
        card_environment()
        .get_template("writing_card.md")
        .render(
            spec=spec,
            report=report,
            models=columns_of(report),
            rows=rows_of(report),
            name=data.model_name,
            **origins(spec),
        )
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))
