"""`distill classify`: what a classifier says of texts."""

import sys
from typing import Annotated

import typer

from distill_client.cli import formats
from distill_client.cli.app import JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.models import ModelName
from distill_client.cli.output import say, styled, table, write_json, write_table

AT_ONCE = 256


@app.command()
def classify(
    ctx: typer.Context,
    model: ModelName,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT…", help="Without any: a line of stdin each.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which class each text is, and how sure the classifier is."""
    asked = texts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not asked:
        raise CommandFailed("there is no text", "name one, or send lines through a pipe")
    made = table("LABEL", "PROBABILITY", "TEXT", right=("PROBABILITY",))
    with connect(ctx) as client:
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            for text, found in zip(some, client.models.classify(model, some), strict=True):
                if as_json:
                    write_json({**found.as_json(), "index": start + found.index, "text": text})
                made.add_row(styled(found.label), formats.percent(found.probability), styled(text))
                if found.truncated:
                    say(
                        f"Text {start + found.index + 1} is longer than the model reads; its end was left out.",
                        "yellow",
                    )
    if not as_json:
        write_table(made)
