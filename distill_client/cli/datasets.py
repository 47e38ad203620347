"""`distill datasets`."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from distill_client.cli import formats
from distill_client.cli.app import JsonFlag, app, connect
from distill_client.cli.output import joined, plain, say, styled, table, write, write_json, write_table
from distill_client.cli.watch import byte_bar
from distill_client.shapes import Dataset, Reading

datasets = typer.Typer(no_args_is_help=True, help="Data sets: upload, list, show, examples, delete.")
app.add_typer(datasets, name="datasets")
DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="The data set's id.")]


@datasets.command()
def upload(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSONL, JSON, CSV, TSV, Parquet, or a zip of images.")
    ],
    name: Annotated[str | None, typer.Option(help="A name; without it the file's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload a data set. It is checked line by line."""
    with connect(ctx) as client, byte_bar(file.name, quiet=as_json) as on_progress:
        dataset = client.datasets.upload(file, name, on_progress)
    if as_json:
        write_json(dataset)
        return
    write(dataset.id)
    say(f"{dataset.examples:,} examples, {formats.size(dataset.bytes)}; columns: {_column_names(dataset)}")


@datasets.command("list")
def list_datasets(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List data sets, the newest first."""
    with connect(ctx) as client:
        found = list(client.datasets.list())
    if as_json:
        for dataset in found:
            write_json(dataset)
        return
    made = table("DATA SET", "NAME", "EXAMPLES", "SIZE", "AGE", right=("EXAMPLES", "SIZE", "AGE"))
    for dataset in found:
        numbers = f"{dataset.examples:,}", formats.size(dataset.bytes), formats.age(dataset.created_at)
        made.add_row(dataset.id, styled(dataset.name), *numbers)
    write_table(made) if found else say("No data sets. Upload one: distill datasets upload FILE")


@datasets.command()
def show(ctx: typer.Context, dataset_id: DatasetId, as_json: JsonFlag = False) -> None:
    """Show a data set's columns, with the values where there are few."""
    with connect(ctx) as client:
        dataset = client.datasets.get(dataset_id)
    if as_json:
        write_json(dataset)
        return
    write(styled(f"{dataset.id}  {dataset.name}  {dataset.examples:,} examples  {formats.size(dataset.bytes)}"))
    made = table("COLUMN", "TYPE", "EMPTY", "VALUES", right=("EMPTY",))
    for column in dataset.columns:
        values = _values_line(column.get("values")) or _images_line(column.get("images"))
        made.add_row(styled(str(column.get("name"))), str(column.get("type")), f"{column.get('nulls', 0):,}", values)
    write_table(made)


@datasets.command()
def examples(
    ctx: typer.Context,
    dataset_id: DatasetId,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=100, help="How many.")] = 5,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A language model: show what it reads, learns and cuts.")
    ] = None,
    max_length: Annotated[int, typer.Option(min=4, max=8192, help="With --tokenizer: where examples are cut.")] = 256,
    as_json: JsonFlag = False,
) -> None:
    """Show the first examples, as the service understood them."""
    with connect(ctx) as client:
        if tokenizer is not None:
            _show_readings(client.datasets.readings(dataset_id, tokenizer, limit, max_length), as_json=as_json)
            return
        found = client.datasets.examples(dataset_id, limit)
    for example in found:
        if as_json:
            write_json(example)
        else:
            write(styled("  ".join(f"{column}={_cell(value)}" for column, value in example.items())))


def _show_readings(found: Sequence[Reading], *, as_json: bool) -> None:
    """Write each example's tokens between bars; what is learned is bold, and behind >>> where there is no colour."""
    for one in found:
        if as_json:
            write_json(one)
            continue
        cut = f", cut from {one.tokens:,}" if one.is_cut else ""
        write(styled(f"{len(one.ids):,} tokens, {sum(one.learned):,} learned{cut}", "dim"))
        for is_learned, some in groupby(zip(one.texts, one.learned, strict=True), key=lambda pair: pair[1]):
            shown = "|".join(plain(text) for text, _ in some)
            write(joined((">>> " if is_learned else "    ", "dim"), (shown, "bold" if is_learned else "")))


@datasets.command()
def delete(ctx: typer.Context, dataset_id: DatasetId, as_json: JsonFlag = False) -> None:
    """Delete a data set that no active job needs."""
    with connect(ctx) as client:
        client.datasets.delete(dataset_id)
    write_json({"id": dataset_id, "deleted": True}) if as_json else write(f"Deleted {dataset_id}")


def _column_names(dataset: Dataset) -> str:
    return ", ".join(str(column.get("name")) for column in dataset.columns)


def _cell(value: Any) -> str:
    """A value as a line can show it: of an image, what it is."""
    if isinstance(value, dict) and "base64" in value and "media_type" in value:
        return f"<{value['media_type']}, {value['width']} x {value['height']}>"
    return repr(value)


def _images_line(images: Any) -> str:
    if not isinstance(images, dict):
        return ""
    sizes = [str(low) if low == high else f"{low} to {high}" for low, high in (images["widths"], images["heights"])]
    return f"{' x '.join(sizes)} pixels, {'grey' if images['channels'] == 1 else 'in colour'}"


def _values_line(values: Any) -> str:
    if not isinstance(values, dict):
        return ""
    shown = "  ".join(f"{value} ({count:,})" for value, count in list(values.items())[:6])
    return shown + ("  …" if len(values) > 6 else "")
