"""`distill watch`: a job as it happens, in one bar or in plain lines."""

import sys
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from distill_client.cli import formats
from distill_client.cli.app import FAILED, INTERRUPTED, JobId, JsonFlag, app, connect
from distill_client.cli.output import err, is_terminal, joined, out, say, styled, write, write_json
from distill_client.client import Client
from distill_client.journey import LOSSES, Journey
from distill_client.shapes import Event, Job

LINE_SECONDS = 10.0
LEVEL_STYLES = {"warning": "yellow", "error": "red"}
EXIT_CODES = {"succeeded": 0, "failed": FAILED, "cancelled": INTERRUPTED}


@dataclass(frozen=True)
class Watched:
    """How watching ended. `job` is None where the watcher detached."""

    job: Job | None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.job.status, FAILED) if self.job is not None else INTERRUPTED


@app.command()
def watch(
    ctx: typer.Context,
    job_id: JobId,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit 0 if it succeeds, 1 if it fails, 130 if it is cancelled.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Follow a job until it is finished. Ctrl-C detaches; the job goes on."""
    with connect(ctx) as client:
        watched = follow(client, job_id, as_json=as_json)
    if exit_status:
        raise typer.Exit(watched.exit_code)


def follow(client: Client, job_id: str, *, as_json: bool = False, quiet_end: bool = False) -> Watched:
    """Draw the job's life until it is finished, or until Ctrl-C; then how it ended, unless the caller tells that."""
    try:
        job = client.jobs.get(job_id)
        screen = JsonLines() if as_json else OneBar(job) if is_terminal() else PlainLines(job)
        with screen:
            for event in client.jobs.events(job_id):
                screen.show(event)
        job = client.jobs.get(job_id)
    except KeyboardInterrupt:
        if not quiet_end:
            say(f"\nDetached. {job_id} goes on; watch it again: distill watch {job_id}")
        return Watched(None)
    if as_json:
        write_json(job)
    elif not quiet_end:
        show_end(job)
    return Watched(job)


def show_end(job: Job) -> None:
    """The outcome in a few lines."""
    if job.error is not None:
        where = f" while {job.error.stage}" if job.error.stage else ""
        write(joined((f"{job.error.code}{where}: ", "bold red"), (job.error.message, "")))
        write(joined(("hint: ", "cyan"), (job.error.hint, "")))
        write(f"Logs: distill logs {job.id}")
    elif job.report is not None:
        write(styled(job.report.verdict, "bold"))
        write(f"Report: distill report {job.id}    Student: distill download {job.id}")


class Screen(AbstractContextManager["Screen"]):
    """Where a job's events are shown."""

    @abstractmethod
    def show(self, event: Event) -> None:
        """Show one event."""

    def __exit__(self, *_: object) -> None:
        return None


class JsonLines(Screen):
    def show(self, event: Event) -> None:
        write_json(event)


class PlainLines(Screen):
    """For a log file: a line for each event, and one for progress at a new stage or every LINE_SECONDS."""

    def __init__(self, job: Job) -> None:
        self.journey = Journey.of(job)
        self.told_stage: str | None = None
        self.told_at = 0.0

    def show(self, event: Event) -> None:
        self.journey.take(event)
        if event.type in ("status", "log", "done"):
            write(event_line(event))
        elif event.type == "progress" and self._is_due():
            self.told_stage, self.told_at = self.journey.headline, time.monotonic()
            write(progress_line(self.journey))
        sys.stdout.flush()

    def _is_due(self) -> bool:
        return self.journey.headline != self.told_stage or time.monotonic() - self.told_at >= LINE_SECONDS


class OneBar(Screen):
    """For a terminal: events scroll by above one bar."""

    def __init__(self, job: Job) -> None:
        self.journey = Journey.of(job)
        self.bar = Progress(
            TextColumn("{task.fields[headline]:<10}", style="cyan"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[facts]}", style="dim"),
            console=out,
            expand=True,
            transient=True,
        )
        self.task = self.bar.add_task("", total=100.0, headline=self.journey.headline, facts="")
        self._draw()

    def __enter__(self) -> "OneBar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, event: Event) -> None:
        self.journey.take(event)
        if event.type in ("status", "log", "done"):
            self.bar.console.print(event_line(event), soft_wrap=True)
        self._draw()

    def _draw(self) -> None:
        self.bar.update(
            self.task,
            completed=self.journey.progress.percent,
            headline=self.journey.headline,
            facts=facts(self.journey, with_losses=out.width >= 80),
        )


def event_line(event: Event) -> Text:
    """`12:03:04  Started on …`, in this machine's own time."""
    moment = event.data.get("created_at")
    clock = f"{datetime.fromisoformat(moment).astimezone():%H:%M:%S}" if isinstance(moment, str) else "        "
    return joined((f"{clock}  ", "dim"), (event.message, LEVEL_STYLES.get(event.level, "")))


def progress_line(journey: Journey) -> str:
    return (
        f"          {journey.headline}  {journey.progress.percent:.0f} %  {facts(journey, with_losses=True)}".rstrip()
    )


def facts(journey: Journey, *, with_losses: bool) -> str:
    """Step of steps, time left, and the latest losses."""
    progress, parts = journey.progress, []
    if progress.queue_position is not None:
        parts.append(f"number {progress.queue_position} in the queue")
    if progress.total_steps:
        parts.append(f"step {progress.step}/{progress.total_steps}")
    if progress.seconds_remaining is not None and journey.status == "running":
        parts.append(f"{formats.duration(progress.seconds_remaining)} left")
    if with_losses:
        whose = f"{journey.phase} " if journey.phase else ""
        shown = [name for name in LOSSES if name in journey.losses]
        parts += [f"{whose}{name.removesuffix('_loss')} {journey.losses[name]:.3f}" for name in shown]
    return "  ".join(parts)


def byte_bar(title: str, *, quiet: bool = False) -> AbstractContextManager[Callable[[int, int | None], None] | None]:
    """A bar on stderr for bytes that move; nothing where nobody looks."""
    if quiet or not err.is_terminal:
        return nullcontext()
    return ByteBar(title)


class ByteBar(AbstractContextManager[Callable[[int, "int | None"], None]]):
    def __init__(self, title: str) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}", style="dim"),
            console=err,
            expand=True,
            transient=True,
        )
        self.task = self.bar.add_task(title, total=None, facts="")

    def __enter__(self) -> Callable[[int, int | None], None]:
        self.bar.start()
        return self._move

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _move(self, done_bytes: int, total_bytes: int | None) -> None:
        text = f"{formats.size(done_bytes)} of {formats.size(total_bytes)}"
        self.bar.update(self.task, completed=done_bytes, total=total_bytes, facts=text)
