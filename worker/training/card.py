"""The student's model card, as model hubs read it."""

from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from core.report import ClassificationReport
from core.spec import JobSpec
from worker.training.words import QUALITY_ROWS, models_of

MLP = "PixelMlpForImageClassification"
INERT = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "\\|[]*_"},
        "<": "&lt;",
        ">": "&gt;",
        "`": "'",
        "\n": " ",
        "\r": " ",
    }
)


def inert(text: object) -> str:
    """Return text that Markdown shows as it is: no markup, link or table cell can come out of a label or a name."""
    return str(text).translate(INERT)


def model_card(spec: JobSpec, report: ClassificationReport) -> str:
    """Return README.md: the card's metadata, the verdict, the table and how to load the student."""
    data = ModelCardData(
        library_name=None if is_mlp(report) else "transformers",
        pipeline_tag=report.task,
        tags=[*(["knowledge-distillation"] if spec.teacher else []), report.task],
        base_model=hub_start(spec),
        model_name=spec.output.model or spec.name or "distilled-student",
        eval_results=_results(spec, report),
    )
    body = (
        card_environment()
        .get_template("card.md")
        .render(
            spec=spec,
            report=report,
            models=models_of(report),
            rows=QUALITY_ROWS,
            name=data.model_name,
            **origins(spec),
            use=f"use_{'mlp' if is_mlp(report) else report.task.split('-')[0]}.md",
        )
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def hub_start(spec: JobSpec) -> str | None:
    """Return the hub model whose weights the student began with, as hubs mean it; a name of this service is no link."""
    start = spec.teacher_models[0].model if spec.student.from_teacher is not None else spec.student.model
    return start if start is not None and "/" in start else None


def origins(spec: JobSpec) -> dict[str, str]:
    """Return, in words, who taught and what the student began with."""
    names = [teacher.model for teacher in spec.teacher_models]
    names += [spec.endpoint.model] if spec.endpoint is not None else []
    start = "random weights" if spec.student.model is None else f"the weights of {spec.student.model}"
    if spec.student.from_teacher is not None:
        layers = ", ".join(map(str, spec.student.from_teacher.layers))
        start = f"copies of layers {layers} (from 0) of {names[0]}"
    return {"teachers": ", ".join(names), "start": start}


def is_mlp(report: ClassificationReport) -> bool:
    """Tell whether the student is of our own architecture, which plain transformers does not know."""
    return report.student.architecture == MLP


def card_environment() -> Environment:
    """Return the template engine for cards, whose `inert` escapes."""
    environment = Environment(
        loader=PackageLoader("worker.training"),
        autoescape=False,  # noqa: S701 - this is Markdown: `inert` escapes
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["inert"] = inert
    return environment


def _results(spec: JobSpec, report: ClassificationReport) -> list[EvalResult]:
    after = report.student_after
    measured: dict[str, Any] = {"accuracy": after.accuracy, "f1": after.macro_f1, "agreement": after.agreement}
    return [
        EvalResult(
            task_type=report.task,
            dataset_type=spec.dataset.id,
            dataset_name=spec.dataset.id,
            dataset_split=report.held_out,
            metric_type=name,
            metric_value=round(value, 6),
        )
        for name, value in measured.items()
        if value is not None
    ]
