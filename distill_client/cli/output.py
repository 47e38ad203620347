"""What the command line writes: results on stdout, everything said about them on stderr."""

import io
import json
import re
import sys
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill_client.shapes import Shape

out = Console(highlight=False, emoji=False, markup=False)
err = Console(stderr=True, highlight=False, emoji=False, markup=False)
PIPE_WIDTH = 10_000
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """A server's text without control characters: a log line must not move this terminal's cursor."""
    return CONTROL.sub("", text)


def styled(text: str, style: str = "") -> Text:
    return Text(plain(text), style=style)


def joined(*parts: tuple[str, str]) -> Text:
    """One line out of (text, style) parts, each in its own style."""
    return Text.assemble(*((plain(text), style) for text, style in parts))


def write_json(answer: Any) -> None:
    """One line of JSON."""
    answer = answer.as_json() if isinstance(answer, Shape) else answer
    typer.echo(json.dumps(answer, ensure_ascii=False, separators=(",", ":")))


def say(text: str, style: str = "") -> None:
    """A sentence about what is going on, beside the result."""
    err.print(styled(text, style), soft_wrap=not err.is_terminal)


def write(text: str | Text, *, whole: bool = False) -> None:
    """A line of the result, wrapped by words on a terminal; left `whole` where it is to be copied, and in a pipe."""
    out.print(text, soft_wrap=whole or not is_terminal())


def is_terminal() -> bool:
    return sys.stdout.isatty()


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table without lines around it, which is easy to read and to cut up."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    numbers = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", no_wrap=True, overflow="fold")
    return made


def write_table(made: Table) -> None:
    """On a terminal at its width; into a pipe so wide that no row is broken."""
    if is_terminal():
        out.print(made)
        return
    wide = Console(file=io.StringIO(), width=PIPE_WIDTH, highlight=False, emoji=False, markup=False)
    with wide.capture() as captured:
        wide.print(made)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


STATUS_STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "pausing": "yellow",
    "paused": "yellow",
    "cancelling": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
}


def status_text(status: str) -> Text:
    return styled(status, STATUS_STYLES.get(status, ""))
