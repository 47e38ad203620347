"""The command `distill`, its options for every command, and how errors become exit codes."""

import errno
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from distill_client.cli.failures import explain, explain_system_error
from distill_client.client import Client
from distill_client.errors import ClientError
from distill_client.retrying import Retries

FAILED, USAGE, INTERRUPTED = 1, 2, 130
STARTING = ("up", "demo", "submit", "validate", "sweep")
JOBS = (
    "list",
    "show",
    "watch",
    "logs",
    "metrics",
    "cancel",
    "pause",
    "resume",
    "retry",
    "delete",
    "download",
    "report",
    "compare",
)
RESOURCES = ("sweeps", "datasets", "models", "secrets", "keys", "doctor")
MODELS = ("chat", "classify")
ORDER = STARTING + JOBS + MODELS + RESOURCES
EPILOG = "Exit codes: 0 well, 1 failed, 2 wrong usage, 130 interrupted (or cancelled, with --exit-status)."


class Root(TyperGroup):
    """Turns what the client raises into a few lines on stderr and exit code 1."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which a newcomer meets them."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ClientError as error:
            explain(error)
            raise typer.Exit(FAILED) from error
        except (OSError, UnicodeError) as error:
            # A closed pipe is nothing to explain: whoever reads has had enough.
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            explain_system_error(error)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(INTERRUPTED) from interrupt


@dataclass(frozen=True)
class Target:
    """Which server the command is for."""

    url: str | None
    api_key: str | None


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)

JsonFlag = Annotated[bool, typer.Option("--json", help="Write JSON, one object a line, and nothing else, to stdout.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"distill {version('distillation-service')}")
        raise typer.Exit


@app.callback()
def choose_server(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option(metavar="URL", envvar="DISTILL_URL", help="The service.")] = None,
    api_key: Annotated[str | None, typer.Option(metavar="KEY", envvar="DISTILL_API_KEY", help="dk_…")] = None,
    version_: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Distil small models from large ones: a client for the distillation service."""
    ctx.obj = Target(url, api_key)


def connect(ctx: typer.Context) -> Client:
    """A client for the chosen server. Long commands outlive a restart of it."""
    target: Target = ctx.obj
    return Client(target.url, target.api_key, retries=Retries(attempts=8, first_contact_attempts=3, first_seconds=0.3))
