"""`distill list, show, logs, cancel, pause, resume, retry, delete`: jobs that are there already."""

from typing import Annotated

import typer
from rich.table import Table

from distill_client.cli import formats
from distill_client.cli.app import JobId, JsonFlag, app, connect
from distill_client.cli.output import out, plain, say, status_text, styled, table, write, write_json, write_table
from distill_client.cli.watch import facts
from distill_client.journey import Journey
from distill_client.shapes import Job


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    status: Annotated[str | None, typer.Option(help="Only jobs in this status.")] = None,
    label: Annotated[str | None, typer.Option(metavar="KEY:VALUE", help="Only jobs with this label.")] = None,
    query: Annotated[str | None, typer.Option("--name", help="Only jobs whose name contains this.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many, the newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first."""
    with connect(ctx) as client:
        jobs = list(client.jobs.list(status=status, label=label, q=query, limit=limit))
    if as_json:
        for job in jobs:
            write_json(job)
    elif jobs:
        write_table(job_table(jobs))
    else:
        say("No jobs. Start one: distill submit FILE.json, or see it all work: distill demo")


def job_table(jobs: list[Job]) -> Table:
    made = table("JOB", "NAME", "STATUS", "STAGE", "DONE", "AGE", right=("DONE", "AGE"))
    for job in jobs:
        made.add_row(
            job.id,
            styled(job.name or formats.ABSENT),
            status_text(job.status),
            styled(job.stage or ""),
            f"{job.progress.percent:.0f} %",
            formats.age(job.created_at),
        )
    return made


@app.command()
def show(ctx: typer.Context, job_id: JobId, as_json: JsonFlag = False) -> None:
    """Show one job."""
    with connect(ctx) as client:
        job = client.jobs.get(job_id)
    if as_json:
        write_json(job)
    else:
        write_table(_facts_of(job))


def _facts_of(job: Job) -> Table:
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    made.add_row("job", job.id)
    made.add_row("name", styled(job.name or formats.ABSENT))
    made.add_row("status", status_text(job.status))
    journey = Journey.of(job)
    how_far = f"{job.progress.percent:.0f} %  {facts(journey, with_losses=True)}".rstrip()
    made.add_row("progress", f"{job.stage}: {how_far}" if job.stage else how_far)
    made.add_row("attempt", str(job.attempt))
    made.add_row("created", f"{formats.age(job.created_at)} ago")
    if job.started_at and job.finished_at:
        made.add_row("took", formats.duration((job.finished_at - job.started_at).total_seconds()))
    made.add_row("spec", styled(_spec_line(job)))
    for warning in job.warnings:
        made.add_row("warning", styled(warning, "yellow"))
    if job.error is not None:
        made.add_row("error", styled(f"{job.error.code}: {job.error.message}", "red"))
        made.add_row("hint", styled(job.error.hint))
    if job.report is not None:
        made.add_row("verdict", styled(job.report.verdict))
    return made


def _spec_line(job: Job) -> str:
    """What was asked for, in one line."""
    teachers = job.spec.get("teacher")
    named = teachers if isinstance(teachers, list) else [teachers]
    names = " + ".join(str(one.get("model")) for one in named if isinstance(one, dict))
    dataset = job.spec.get("dataset")
    return (
        f"{names or 'labels alone'} on {dataset.get('id') if isinstance(dataset, dict) else dataset}, "
        f"T {job.spec.get('T')}, alpha {job.spec.get('alpha')}"
    )


@app.command()
def logs(
    ctx: typer.Context,
    job_id: JobId,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print what the training process printed."""
    with connect(ctx) as client:
        text = client.jobs.logs(job_id, tail)
    for line in text.splitlines():
        if as_json:
            write_json({"line": line})
        else:
            typer.echo(plain(line) if out.is_terminal else line)


@app.command()
def cancel(ctx: typer.Context, job_id: JobId, as_json: JsonFlag = False) -> None:
    """Stop a job. Its last checkpoint is kept."""
    with connect(ctx) as client:
        _tell(client.jobs.cancel(job_id), as_json)


@app.command()
def pause(ctx: typer.Context, job_id: JobId, as_json: JsonFlag = False) -> None:
    """Let a job rest. What was trained is kept; its worker takes another job."""
    with connect(ctx) as client:
        _tell(client.jobs.pause(job_id), as_json)


@app.command()
def resume(ctx: typer.Context, job_id: JobId, as_json: JsonFlag = False) -> None:
    """Queue a paused job again; it goes on from its last checkpoint."""
    with connect(ctx) as client:
        _tell(client.jobs.resume(job_id), as_json)


@app.command()
def retry(ctx: typer.Context, job_id: JobId, as_json: JsonFlag = False) -> None:
    """Queue a failed or cancelled job again; it resumes from its last checkpoint."""
    with connect(ctx) as client:
        _tell(client.jobs.retry(job_id), as_json)


@app.command()
def delete(ctx: typer.Context, job_id: JobId, as_json: JsonFlag = False) -> None:
    """Delete a finished job with its files."""
    with connect(ctx) as client:
        client.jobs.delete(job_id)
    write_json({"id": job_id, "deleted": True}) if as_json else write(f"Deleted {job_id}")


def _tell(job: Job, as_json: bool) -> None:
    write_json(job) if as_json else write(f"{job.id} is {job.status}")
