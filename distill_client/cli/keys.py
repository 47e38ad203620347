"""`distill keys`, for administrators."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from distill_client.cli import formats
from distill_client.cli.app import JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import say, styled, table, write, write_json, write_table
from distill_client.shapes import ApiKey

keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")
app.add_typer(keys, name="keys")
UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400}


@keys.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scopes: Annotated[list[str] | None, typer.Option("--scope", help="read, write or admin; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose key it is; without it yours.")] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="30d", help="When it stops working: m, h or d.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key. It is shown this once."""
    expires_at = datetime.now(UTC) + lifetime(expires_in) if expires_in is not None else None
    with connect(ctx) as client:
        key = client.keys.create(name, scopes, owner, expires_at)
    if as_json:
        write_json(key)
        return
    if key.secret is None:
        # A repeated request replays its answer, and the service does not keep what opens it.
        raise CommandFailed(
            f"the key was made, but its secret was lost on the way; revoke it: distill keys revoke {key.id}"
        )
    write(key.secret)
    say(f"This is the only time that it is shown. Revoke it: distill keys revoke {key.id}")


@keys.command("list")
def list_keys(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List keys, without their secrets."""
    with connect(ctx) as client:
        found = list(client.keys.list())
    if as_json:
        for key in found:
            write_json(key)
        return
    made = table("KEY", "NAME", "OWNER", "BEGINS", "SCOPES", "STATE", "AGE", right=("AGE",))
    for key in found:
        made.add_row(
            key.id,
            styled(key.name),
            styled(key.owner or ""),
            key.hint or "",
            ",".join(key.scopes),
            state_of(key),
            formats.age(key.created_at),
        )
    write_table(made) if found else say("No keys: on loopback nobody needs one. Make one: distill keys create NAME")


@keys.command()
def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")],
    as_json: JsonFlag = False,
) -> None:
    """Revoke a key at once."""
    with connect(ctx) as client:
        client.keys.revoke(key_id)
    write_json({"id": key_id, "revoked": True}) if as_json else write(f"Revoked {key_id}")


def lifetime(text: str) -> timedelta:
    """Read 90m, 12h or 30d."""
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise CommandFailed(f"--expires-in {text}: write a number and m, h or d, such as 30d")
    return timedelta(seconds=int(match[1]) * UNIT_SECONDS[match[2]])


def state_of(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "valid"
