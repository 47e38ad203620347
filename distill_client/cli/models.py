"""`distill models`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from distill_client.cli import formats
from distill_client.cli.app import JsonFlag, app, connect
from distill_client.cli.download import Force, folder_for, tell
from distill_client.cli.output import say, styled, table, write, write_json, write_table
from distill_client.cli.watch import byte_bar
from distill_client.shapes import Model

models = typer.Typer(no_args_is_help=True, help="Models: upload, list, show, download, delete.")
app.add_typer(models, name="models")
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name or id.")]


@models.command()
def upload(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(exists=True, help="A transformers folder, or a .zip or .tar of one.")],
    name: Annotated[str | None, typer.Option(help="The name that jobs use; without it the folder's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload a model. A folder is packed on the way; only safetensors weights are taken."""
    chosen = name or path.resolve().name.partition(".")[0]
    with connect(ctx) as client, byte_bar(path.name, quiet=as_json) as on_progress:
        model = client.models.upload(path, chosen, on_progress)
    if as_json:
        write_json(model)
        return
    write(chosen)
    say(f"{formats.count(model.parameters)} parameters, {formats.size(model.bytes)}; id {model.model_id}")


@models.command("list")
def list_models(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List uploaded and distilled models."""
    with connect(ctx) as client:
        found = list(client.models.list())
    if as_json:
        for model in found:
            write_json(model)
        return
    columns = ("MODEL", "SOURCE", "TASK", "PARAMETERS", "SIZE", "JOB")
    made = table(*columns, right=("PARAMETERS", "SIZE"))
    for model in found:
        numbers = formats.count(model.parameters), formats.size(model.bytes)
        made.add_row(styled(model.id), model.source or "", model.task or "encoder", *numbers, model.job or "")
    write_table(made) if found else say("No models. Upload one: distill models upload FOLDER --name NAME")


@models.command()
def show(ctx: typer.Context, name: ModelName, as_json: JsonFlag = False) -> None:
    """Show a model."""
    with connect(ctx) as client:
        model = client.models.get(name)
    write_json(model) if as_json else write_table(_facts_of(model))


@models.command()
def download(
    ctx: typer.Context,
    name: ModelName,
    to: Annotated[Path | None, typer.Option(help="The folder; without it one with the model's name.")] = None,
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Download a model into a folder that transformers loads as it is. Every file's SHA-256 is checked."""
    folder = folder_for(to, name)
    with connect(ctx) as client, byte_bar(name, quiet=as_json) as on_progress:
        files = client.models.download(name, folder, on_progress, replace=force)
    tell(files, folder, as_json)


@models.command()
def delete(ctx: typer.Context, name: ModelName, as_json: JsonFlag = False) -> None:
    """Delete a model that no active job reads."""
    with connect(ctx) as client:
        client.models.delete(name)
    write_json({"id": name, "deleted": True}) if as_json else write(f"Deleted {name}")


def _facts_of(model: Model) -> Table:
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    labels = ", ".join(str(label) for label in model.labels or []) or formats.ABSENT
    rows = {
        "model": model.id,
        "id": model.model_id,
        "source": model.source or formats.ABSENT,
        "architecture": model.architecture or formats.ABSENT,
        "task": model.task or "none: an encoder without a head",
        "labels": labels,
        "parameters": f"{model.parameters:,}" if model.parameters is not None else formats.ABSENT,
        "size": formats.size(model.bytes),
        "job": model.job or formats.ABSENT,
    }
    for title, value in rows.items():
        made.add_row(title, styled(value))
    return made
