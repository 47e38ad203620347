"""The report's page and the student's card, for students that learned from texts."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from core.report import GenerationReport, WritingQuality
from core.spec import JobSpec
from worker.training import charts
from worker.training.card import card_environment, hub_start, origins
from worker.training.charts import Chart, Line, chart, series
from worker.training.generation.filters import REASONS
from worker.training.language.page import columns_of
from worker.training.language.page import rows_of as plain_rows
from worker.training.page import History, page_environment
from worker.training.words import nats, share

Row = tuple[str, Callable[[WritingQuality], str]]
OWN_ROWS: dict[str, Row] = {
    "completions_loss": ("Loss on the data set's own completions, nats", lambda q: nats(q.completions_loss)),
    "pass_rate": ("Right answers", lambda q: share(q.pass_rate)),
}


def rows_of(report: GenerationReport) -> list[Row]:
    """Return the rows of the table, those of the writing among them where something stands in them."""
    own = [row for name, row in OWN_ROWS.items() if getattr(report.student_after, name) is not None]
    rows = plain_rows(report)
    return [*rows[:2], *own, *rows[2:]]


def texts_page(
    spec: JobSpec, report: GenerationReport, curves: Mapping[str, History], provenance: Mapping[str, Any]
) -> str:
    """Return report.html. All that users and models wrote is escaped by the template engine."""
    return (
        page_environment()
        .get_template("texts.html")
        .render(
            title=spec.output.model or spec.name or "Distillation report",
            spec=spec,
            report=report,
            texts=report.texts,
            reasons=REASONS,
            models=columns_of(report, "Own completions"),
            rows=rows_of(report),
            charts=drawn(curves),
            box=charts,
            spec_text=json.dumps(spec.model_dump(mode="json"), indent=2, ensure_ascii=False),
            provenance_text=json.dumps(dict(provenance), indent=2, ensure_ascii=False, default=str),
        )
    )


def drawn(curves: Mapping[str, History]) -> list[Chart]:
    """Return the charts that the phases' logs can fill."""
    both = (("Student", 0, curves.get("student", ())), ("Own completions", 3, curves.get("baseline", ())))
    measures = (
        ("loss", "Training loss by step, nats per token"),
        ("validation/ce", "Validation: loss per token of the teacher's texts, nats"),
        ("validation/kl", "Validation: KL to the teacher, nats"),
        ("validation/agreement", "Validation: same choice as the teacher"),
    )
    found = [
        chart(title, [Line(name, tone, series(history, measure)) for name, tone, history in both])
        for measure, title in measures
    ]
    return [one for one in found if one is not None]


def texts_card(spec: JobSpec, report: GenerationReport) -> str:
    """Return README.md: the card's metadata, the verdict, the table, samples and how to load the student."""
    after = report.student_after
    measured = {"loss": after.loss, "kl_to_teacher": after.kl_to_teacher, "pass_rate": after.pass_rate}
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
        .get_template("texts_card.md")
        .render(
            spec=spec,
            report=report,
            texts=report.texts,
            reasons=REASONS,
            models=columns_of(report, "Own completions"),
            rows=rows_of(report),
            name=data.model_name,
            **origins(spec),
        )
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))
