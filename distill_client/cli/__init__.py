"""The command line. Importing a noun's module adds its commands."""

from distill_client.cli import (
    chat,
    classify,
    compare,
    datasets,
    demo,
    doctor,
    download,
    jobs,
    keys,
    metrics,
    models,
    report,
    secrets,
    submit,
    sweeps,
    up,
    watch,
)
from distill_client.cli.app import app

NOUNS = (
    chat,
    classify,
    compare,
    datasets,
    demo,
    doctor,
    download,
    jobs,
    keys,
    metrics,
    models,
    report,
    secrets,
    submit,
    sweeps,
    up,
    watch,
)


def main() -> None:
    """The entry point of the command `distill`."""
    app(prog_name="distill")
