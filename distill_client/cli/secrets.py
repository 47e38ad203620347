"""`distill secrets`: what jobs use by name, such as a vendor's API key."""

import os
import sys
from typing import Annotated

import typer

from distill_client.cli import formats
from distill_client.cli.app import JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import say, styled, table, write, write_json, write_table

secrets = typer.Typer(no_args_is_help=True, help="Secrets by name: add, list, remove. Values go in and never come out.")
app.add_typer(secrets, name="secrets")
SecretName = Annotated[str, typer.Argument(metavar="NAME", help="What jobs call it.")]


@secrets.command()
def add(
    ctx: typer.Context,
    name: SecretName,
    from_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Take the value from this environment variable.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier value.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Store a value, read from stdin or asked for. It is no argument, so that no process list shows it."""
    value = value_of(from_env)
    with connect(ctx) as client:
        secret = client.secrets.add(name, value, replace=replace)
    write_json(secret) if as_json else write(secret.name)


@secrets.command("list")
def list_secrets(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List names, without their values."""
    with connect(ctx) as client:
        found = list(client.secrets.list())
    if as_json:
        for secret in found:
            write_json(secret)
        return
    made = table("NAME", "CHANGED", right=("CHANGED",))
    for secret in found:
        made.add_row(styled(secret.name), formats.age(secret.updated_at))
    write_table(made) if found else say("No secrets. Store one: distill secrets add NAME")


@secrets.command()
def remove(ctx: typer.Context, name: SecretName, as_json: JsonFlag = False) -> None:
    """Forget a secret at once."""
    with connect(ctx) as client:
        client.secrets.remove(name)
    write_json({"name": name, "removed": True}) if as_json else write(f"Removed {name}")


def value_of(variable: str | None) -> str:
    """Return the value from an environment variable, from stdin, or from whoever sits at the terminal."""
    if variable is not None:
        value = os.environ.get(variable, "")
        if not value:
            raise CommandFailed(f"--from-env {variable}: there is no such environment variable, or it is empty")
    elif sys.stdin.isatty():
        value = typer.prompt("Value", hide_input=True, err=True)
    else:
        value = sys.stdin.read()
    if not value.strip():
        raise CommandFailed("there is no value", "pipe it in, or give --from-env VARIABLE")
    return value.strip()
