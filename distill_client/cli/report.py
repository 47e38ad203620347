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
from distill_client.shapes import (
    Alignment,
    Gain,
    GenerationReport,
    Interval,
    Quality,
    Report,
    Sample,
    Spent,
    WritingGain,
    WritingQuality,
    WrittenTexts,
)

QualityT = TypeVar("QualityT", Quality, WritingQuality)
ROWS: tuple[tuple[str, Callable[[Quality], str]], ...] = (
    ("accuracy", lambda one: formats.percent(one.accuracy)),
    ("wrong", lambda one: formats.number(one.errors, 0)),
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
TEXT_ROWS: dict[str, tuple[str, Callable[[WritingQuality], str]]] = {
    "completions_loss": ("loss on own completions", lambda one: formats.number(one.completions_loss)),
    "pass_rate": ("right answers", lambda one: formats.percent(one.pass_rate)),
    "uld_to_teacher": ("distance of sorted probabilities", lambda one: formats.number(one.uld_to_teacher)),
}
SAMPLES_SHOWN = 2


@app.command()
def report(
    ctx: typer.Context,
    job_id: JobId,
    html: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Save the report page with its curves to this file.")
    ] = None,
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
        alone = "texts alone" if found.texts is None else "own completions"
        write_table(_table_of(writing_rows(found), _columns(models, alone, found.baseline)))
        if found.texts is not None:
            write(texts_line(found.texts))
        if found.alignment is not None:
            write(alignment_line(found.alignment))
        for sample in found.samples[:SAMPLES_SHOWN]:
            write_table(sample_table(sample))
        if found.gain is not None:
            write(writing_gain_line(found.gain, by_texts=found.texts is not None))
    else:
        of_classes = (found.teacher, found.student_before, found.student_after)
        write_table(_table_of(ROWS, _columns(of_classes, "labels only", found.baseline)))
        if found.gain is not None:
            write(gain_line(found.gain))
    if found.verdict:
        write(styled(found.verdict, "bold"))


def writing_rows(found: GenerationReport) -> list[tuple[str, Callable[[WritingQuality], str]]]:
    """The table's rows: those of texts and of other tokens among them where something stands in them."""
    own = [row for name, row in TEXT_ROWS.items() if getattr(found.student_after, name) is not None]
    return [*WRITING_ROWS[:2], *own, *WRITING_ROWS[2:]]


def texts_line(texts: WrittenTexts) -> str:
    """How many texts the teacher wrote, what was dropped for which reason, and what is not measured why."""
    reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in texts.dropped.items())
    line = f"Kept {texts.kept:,} of {texts.samples:,} texts" + (f"; dropped: {reasons}" if reasons else "") + "."
    if texts.no_baseline is not None:
        line += f" Nothing to compare with: {texts.no_baseline}."
    line += f" No KL to the teacher: {texts.incomparable}." if texts.incomparable is not None else ""
    return line + (f" {spent_line(texts.spent)}" if texts.spent is not None else "")


def alignment_line(alignment: Alignment) -> str:
    """How much of the texts was learned from a teacher with other tokens, and why there is no KL to it."""
    met = f"{alignment.aligned_tokens:,} tokens that were learned begin where one of the teacher's does."
    return f"{met} No KL to the teacher: {alignment.incomparable}."


def spent_line(spent: Spent) -> str:
    """What a teacher behind an endpoint was asked."""
    cost = f", cost {spent.cost:,.2f}" if spent.cost is not None else ""
    tokens = f"{spent.prompt_tokens:,} prompt and {spent.completion_tokens:,} completion tokens"
    return f"Asked {spent.requests:,} times: {tokens}{cost}."


def _columns(
    models: tuple[QualityT | None, QualityT, QualityT], alone: str, baseline: QualityT | None
) -> dict[str, QualityT]:
    teacher, before, after = models
    columns = {"teacher": teacher} if teacher is not None else {}
    columns |= {"student before": before}
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
        "data set": sample.reference or "",
        "teacher": sample.teacher,
        "student before": sample.student_before,
        "student": sample.student_after,
    }
    for name, text in said.items():
        if text is not None:
            made.add_row(name, styled(" ".join(text.split()) or "(nothing but white space)"))
    return made


def gain_line(gain: Gain) -> str:
    """What the teacher brought over labels alone, in percentage points, with the 95 % interval of its accuracy."""
    line = f"Gain over labels alone: accuracy {formats.points(gain.accuracy)} points"
    line += _between(gain.accuracy_interval, formats.points)
    return f"{line}, macro F1 {formats.points(gain.macro_f1)}, agreement {formats.points(gain.agreement)}"


def writing_gain_line(gain: WritingGain, *, by_texts: bool = False) -> str:
    """What the teacher brought, in nats per token with 95 % intervals; below zero is better.

    Over the texts alone; or, where it wrote texts to learn from, on those, over the data set's own completions.
    """
    over = "on the teacher's texts, over own completions" if by_texts else "over the texts alone"
    parts = [("KL to teacher", gain.kl_to_teacher, gain.kl_interval), ("loss", gain.loss, gain.loss_interval)]
    said = [f"{what} {_signed(value)}{_between(at, _signed)}" for what, value, at in parts if value is not None]
    return f"Gain {over}, nats per token: {', '.join(said)}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _between(interval: Interval | None, shown: Callable[[float], str]) -> str:
    if interval is None:
        return ""
    return f" (95 % interval {shown(interval.low)} to {shown(interval.high)})"
