"""`distill sweep` and `distill sweeps`: the same job with other values, and one table of what came out."""

import json
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from distill_client.cli import formats
from distill_client.cli.app import FAILED, INTERRUPTED, USAGE, JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import (
    err,
    say,
    status_text,
    styled,
    table,
    write,
    write_json,
    write_table,
)
from distill_client.cli.submit import Settings, SpecFile, json_or_word, read_json, read_spec
from distill_client.cli.sweep_table import show_sweep, values_of
from distill_client.cli.watch import EXIT_CODES
from distill_client.client import Client
from distill_client.shapes import Sweep

sweeps = typer.Typer(help="Sweeps: list, show, watch, cancel, delete.", invoke_without_command=True)
app.add_typer(sweeps, name="sweeps")
SweepId = Annotated[str, typer.Argument(metavar="SWEEP", help="The sweep's id.")]


@app.command()
def sweep(
    ctx: typer.Context,
    file: SpecFile = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=VALUE,VALUE", help="A field's values, such as T=1,2,4; may be repeated."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for the sweep.")] = None,
    settings: Settings = None,
    detach: Annotated[bool, typer.Option("--detach", help="Write the sweep's id and do not wait.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Try every combination of the grid's values on one spec, and show what each is worth."""
    if not grid:
        say("error: no grid. Give --grid, such as --grid T=1,2,4 --grid alpha=0.5,0.9")
        raise typer.Exit(USAGE)
    base = read_spec(file, {}, settings or [])
    with connect(ctx) as client:
        made = client.sweeps.submit(base, grid_of(grid), name)
        if detach:
            write_json(made) if as_json else write(made.id)
            return
        say(f"Submitted {made.id}: {len(made.points)} jobs")
        for note in made.notes:
            say(f"note: {note}", "yellow")
        raise typer.Exit(_follow(client, made.id, as_json=as_json))


@sweeps.callback()
def list_them(ctx: typer.Context) -> None:
    """Sweeps: list, show, watch, cancel, delete. Without a word: list."""
    if ctx.invoked_subcommand is None:
        list_sweeps(ctx)


@sweeps.command("list")
def list_sweeps(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many, the newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List sweeps, the newest first."""
    with connect(ctx) as client:
        found = list(client.sweeps.list(limit))
    if as_json:
        for one in found:
            write_json(one)
        return
    made = table("SWEEP", "NAME", "STATUS", "JOBS", "DONE", "AGE", right=("JOBS", "DONE", "AGE"))
    for one in found:
        name, jobs = styled(one.name or formats.ABSENT), str(sum(one.counts.values()))
        made.add_row(one.id, name, status_text(one.status), jobs, f"{one.percent:.0f} %", formats.age(one.created_at))
    write_table(made) if found else say("No sweeps. Start one: distill sweep FILE.json --grid T=1,2,4")


@sweeps.command()
def show(ctx: typer.Context, sweep_id: SweepId, as_json: JsonFlag = False) -> None:
    """Show a sweep's table as it is now."""
    with connect(ctx) as client:
        found = client.sweeps.get(sweep_id)
    write_json(found) if as_json else show_sweep(found)


@sweeps.command()
def watch(ctx: typer.Context, sweep_id: SweepId, as_json: JsonFlag = False) -> None:
    """Follow a sweep until its last job is finished, then show its table. Ctrl-C detaches; the jobs go on."""
    with connect(ctx) as client:
        raise typer.Exit(_follow(client, sweep_id, as_json=as_json))


@sweeps.command()
def cancel(ctx: typer.Context, sweep_id: SweepId, as_json: JsonFlag = False) -> None:
    """Stop every job of a sweep that is not finished."""
    with connect(ctx) as client:
        found = client.sweeps.cancel(sweep_id)
    write_json(found) if as_json else write(f"{found.id} is {found.status}")


@sweeps.command()
def delete(ctx: typer.Context, sweep_id: SweepId, as_json: JsonFlag = False) -> None:
    """Delete a finished sweep with its jobs and their files. The models that they made stay."""
    with connect(ctx) as client:
        client.sweeps.delete(sweep_id)
    write_json({"id": sweep_id, "deleted": True}) if as_json else write(f"Deleted {sweep_id}")


def grid_of(written: list[str]) -> dict[str, list[Any]]:
    """Read `T=1,2,4`: what stands between commas is JSON, as in a list; where that is no JSON, each is a word."""
    found: dict[str, list[Any]] = {}
    for axis in written:
        path, equals, text = axis.partition("=")
        if not equals or not path or not text:
            raise CommandFailed(f"--grid {axis}: write it as PATH=VALUE,VALUE, such as T=1,2,4")
        if path in found:
            raise CommandFailed(f"--grid {path} stands twice", f"give all of its values at once: --grid {path}=…,…")
        found[path] = _values(text)
    return found


def _values(text: str) -> list[Any]:
    try:
        return list(read_json(f"[{text}]"))
    except json.JSONDecodeError:
        return [json_or_word(word.strip()) for word in text.split(",")]


def _follow(client: Client, sweep_id: str, *, as_json: bool) -> int:
    """Wait with one bar for all jobs, write the table, and return the exit code."""
    try:
        with SweepBar() as bar:
            for found in client.sweeps.looks(sweep_id):
                bar.show(found)
    except KeyboardInterrupt:
        say(f"\nDetached. {sweep_id} goes on; watch it again: distill sweeps watch {sweep_id}")
        return INTERRUPTED
    write_json(found) if as_json else show_sweep(found)
    return EXIT_CODES.get(found.status, FAILED)


class SweepBar(AbstractContextManager["SweepBar"]):
    """On stderr: one bar over all jobs, or a line for each that ends where nobody sees a bar."""

    def __init__(self) -> None:
        self.told: set[int] = set()
        self.bar = Progress(
            TextColumn("{task.fields[count]}", style="cyan"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[facts]}", style="dim"),
            console=err,
            expand=True,
            transient=True,
            disable=not err.is_terminal,
        )
        self.task = self.bar.add_task("", total=100.0, count="", facts="")

    def __enter__(self) -> "SweepBar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, found: Sweep) -> None:
        over = [point for point in found.points if point.status in EXIT_CODES]
        for point in over:
            if point.place not in self.told:
                self.told.add(point.place)
                say(f"{len(self.told)} of {len(found.points)}: {values_of(point)} {point.status}")
        running = [point for point in found.points if point.stage is not None]
        facts = "; ".join(f"{values_of(point)} {point.stage}" for point in running)
        count = f"{len(over)} of {len(found.points)} jobs"
        self.bar.update(self.task, completed=found.percent, count=count, facts=styled(facts).plain)
