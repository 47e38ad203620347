"""`distill metrics`: the numbers of a training, as curves in a line each, as CSV or as JSON."""

from typing import Annotated, Any

import typer

from distill_client.cli import formats
from distill_client.cli.app import JobId, JsonFlag, app, connect
from distill_client.cli.output import say, styled, table, write_json, write_table


@app.command()
def metrics(
    ctx: typer.Context,
    job_id: JobId,
    names: Annotated[list[str] | None, typer.Option("--name", help="Only this series; may be repeated.")] = None,
    points: Annotated[int, typer.Option(min=2, help="Values per series, evenly chosen.")] = 200,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write every value as CSV.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a job's metrics."""
    with connect(ctx) as client:
        if as_csv:
            typer.echo(client.jobs.metrics_csv(job_id, names=names), nl=False)
            return
        answer = client.jobs.metrics(job_id, names=names, points=points)
    if as_json:
        write_json(answer)
        return
    series = series_of(answer)
    if not series:
        say("No metrics yet.")
        return
    made = table("METRIC", "STEPS", "FIRST", "LAST", "LOWEST", "HIGHEST", "CURVE", right=("STEPS", "FIRST", "LAST"))
    for name, pairs in series.items():
        values = [value for _, value in pairs]
        numbers = [f"{value:.4g}" for value in (values[0], values[-1], min(values), max(values))]
        made.add_row(styled(name), str(pairs[-1][0]), *numbers, styled(formats.sparkline(values), "cyan"))
    write_table(made)


def series_of(answer: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by name, without empty series and without values that were no numbers."""
    known = {
        name: [(int(point["step"]), float(point["value"])) for point in points if point["value"] is not None]
        for name, points in answer["series"].items()
    }
    return {name: pairs for name, pairs in known.items() if pairs}
