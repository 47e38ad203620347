"""`distill report`: the proof. The same held-out examples for every model."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from distill_client.cli import formats
from distill_client.cli.app import JobId, JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import say, styled, table, write, write_json, write_table
from distill_client.shapes import Gain, Quality, Report

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


def show_report(found: Report) -> None:
    write_table(report_table(found))
    if found.gain is not None:
        write(gain_line(found.gain))
    if found.verdict:
        write(styled(found.verdict, "bold"))


def report_table(found: Report) -> Table:
    columns: dict[str, Quality] = {"teacher": found.teacher, "student before": found.student_before}
    columns |= {"labels only": found.baseline} if found.baseline is not None else {}
    columns["student"] = found.student_after
    made = table("", *columns, right=tuple(columns))
    for title, cell in ROWS:
        shown = [styled(cell(one), "bold" if name == "student" else "") for name, one in columns.items()]
        made.add_row(styled(title, "dim"), *shown)
    return made


def gain_line(gain: Gain) -> str:
    """What the teacher brought over labels alone, in percentage points, with the 95 % interval of its accuracy."""
    line = f"Gain over labels alone: accuracy {formats.points(gain.accuracy)} points"
    if gain.accuracy_interval is not None:
        low, high = formats.points(gain.accuracy_interval.low), formats.points(gain.accuracy_interval.high)
        line += f" (95 % interval {low} to {high})"
    return f"{line}, macro F1 {formats.points(gain.macro_f1)}, agreement {formats.points(gain.agreement)}"
