"""`distill chat`: talk to a language model."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from distill_client.chat import Message
from distill_client.cli.app import JsonFlag, app, connect
from distill_client.cli.models import ModelName
from distill_client.cli.output import err, plain, say, write_json
from distill_client.client import Client


@app.command()
def chat(
    ctx: typer.Context,
    model: ModelName,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Say this, write the answer, and end. Without it: a talk.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="What stands before the talk.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 always takes the likeliest.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same answers.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Talk to a language model: a line is a turn, an empty input (Ctrl-D) ends it. Answers come as they are written."""
    turns: list[Message] = [{"role": "system", "content": system}] if system else []
    options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    with connect(ctx) as client:
        for said in [message] if message is not None else spoken():
            turns.append({"role": "user", "content": said})
            turns.append({"role": "assistant", "content": answer(client, model, turns, options, as_json=as_json)})


def spoken() -> Iterator[str]:
    """What is typed, or comes through a pipe, line by line."""
    is_talk = sys.stdin.isatty()
    if is_talk:
        say("A line is a turn; Ctrl-D ends it.", "dim")
    while True:
        if is_talk:
            err.print("> ", style="bold cyan", end="")
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


def answer(client: Client, model: str, turns: list[Message], options: dict[str, Any], *, as_json: bool) -> str:
    """Write an answer and return it."""
    if as_json:
        whole = client.chat.complete(model, turns, **options)
        write_json(whole)
        return whole.text
    pieces = []
    for piece in client.chat.stream(model, turns, **options):
        pieces.append(piece)
        typer.echo(plain(piece), nl=False)
    typer.echo()
    return "".join(pieces)
