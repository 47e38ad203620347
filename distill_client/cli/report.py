"""`distill report`: the proof. The same held-out examples for every model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from distill_client.cli import formats
from distill_client.cli.app import JobId, JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import say, styled, table, write, write_json, write_table
from distill_client.shapes import Gain, GenerationReport, Interval, Quality, Report, Sample, WritingGain, WritingQuality

QualityT = TypeVar("QualityT", Quality, WritingQuality)
ROWS: tuple[tuple[str, Callable[[Quality], str]], ...] = (
    ("accuracy", lambda one: formats.percent(one.accuracy)),
    ("macro F1", lambda one: formats.number(one.macro_f1)),
    ("agreement with teacher", lambda one: formats.percent(one.agreement)),
    ("KL to teacher, nats", lambda one: formats.number(one.kl_to_teacher)),
    ("parameters", lambda one: formats.count(one.parameters)),
    ("size", lambda one: formats.size(one.bytes)),
    ("latency, one example", lambda one: f"{formats.number(one.latency_ms, 1)} ms"),
    ("throughput", lambda one: f"{formats.number(one.examples_per_second, 0)} examples/s"),
)

WRITING_ROWS: tuple[tuple[str, Callable[[WritingQuality], str]], ...] = (
    ("loss per token, nats", lambda one: formats.number(one.loss)),
    ("perplexity", lambda one: formats.number(one.perplexity, 1)),
    ("KL to teacher per token, nats", lambda one: formats.number(one.kl_to_teacher)),
    ("same choice as the teacher", lambda one: formats.percent(one.agreement)),
    ("distinct pairs of tokens", lambda one: formats.percent(one.distinct_2)),
    ("parameters", lambda one: formats.count(one.parameters)),
    ("size", lambda one: formats.size(one.bytes)),
    ("writes, one text", lambda one: f"{formats.number(one.tokens_per_second, 0)} tokens/s"),
)
SAMPLES_SHOWN = 2


@app.command()
def report(
    ctx: typer.Context,
    job_id: JobId,
    html: Annotated[Path | None, typer.Option(help="Save the report page with its curves to this file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what the job's student is worth: against its teacher, and against training on labels alone."""
    with connect(ctx) as client:
        job = client.jobs.get(job_id)
        if html is not None:
            page = next((one for one in client.jobs.artifacts(job_id) if one.path == "report.html"), None)
            if page is None:
                raise CommandFailed(f"{job_id} has no report page", f"it is {job.status}")
            client.jobs.download_artifact(job_id, page, html)
            say(f"Saved {html}")
    if job.report is None:
        raise CommandFailed(f"{job_id} has no report: it is {job.status}", f"watch it: distill watch {job_id}")
    if as_json:
        write_json(job.report)
    else:
        show_report(job.report)


def show_report(found: Report | GenerationReport) -> None:
    if isinstance(found, GenerationReport):
        models = (found.teacher, found.student_before, found.student_after)
        write_table(_table_of(WRITING_ROWS, _columns(models, "texts alone", found.baseline)))
        for sample in found.samples[:SAMPLES_SHOWN]:
            write_table(sample_table(sample))
        if found.gain is not None:
            write(writing_gain_line(found.gain))
    else:
        of_classes = (found.teacher, found.student_before, found.student_after)
        write_table(_table_of(ROWS, _columns(of_classes, "labels only", found.baseline)))
        if found.gain is not None:
            write(gain_line(found.gain))
    if found.verdict:
        write(styled(found.verdict, "bold"))


def _columns(models: tuple[QualityT, QualityT, QualityT], alone: str, baseline: QualityT | None) -> dict[str, QualityT]:
    teacher, before, after = models
    columns = {"teacher": teacher, "student before": before}
    columns |= {alone: baseline} if baseline is not None else {}
    return columns | {"student": after}


def _table_of(rows: Sequence[tuple[str, Callable[[QualityT], str]]], columns: Mapping[str, QualityT]) -> Table:
    made = table("", *columns, right=tuple(columns))
    for title, cell in rows:
        shown = [styled(cell(one), "bold" if name == "student" else "") for name, one in columns.items()]
        made.add_row(styled(title, "dim"), *shown)
    return made


def sample_table(sample: Sample) -> Table:
    """One held-out prompt and what is written after it."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    said = {
        "prompt": sample.prompt,
        "data set": sample.reference,
        "teacher": sample.teacher,
        "student before": sample.student_before,
        "student": sample.student_after,
    }
    for name, text in said.items():
        made.add_row(name, styled(" ".join(text.split())))
    return made


def gain_line(gain: Gain) -> str:
    """What the teacher brought over labels alone, in percentage points, with the 95 % interval of its accuracy."""
    line = f"Gain over labels alone: accuracy {formats.points(gain.accuracy)} points"
    line += _between(gain.accuracy_interval, formats.points)
    return f"{line}, macro F1 {formats.points(gain.macro_f1)}, agreement {formats.points(gain.agreement)}"


def writing_gain_line(gain: WritingGain) -> str:
    """What the teacher brought over the texts alone, in nats per token with 95 % intervals; below zero is better."""
    kl = f"KL to teacher {_signed(gain.kl_to_teacher)}{_between(gain.kl_interval, _signed)}"
    loss = f"loss {_signed(gain.loss)}{_between(gain.loss_interval, _signed)}"
    return f"Gain over the texts alone, nats per token: {kl}, {loss}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _between(interval: Interval | None, shown: Callable[[float], str]) -> str:
    if interval is None:
        return ""
    return f" (95 % interval {shown(interval.low)} to {shown(interval.high)})"
