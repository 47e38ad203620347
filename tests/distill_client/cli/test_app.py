"""What every command has in common: help, JSON, errors, exit codes, a heading in the documentation."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from distill_client.cli import app
from distill_client.cli.app import ORDER
from tests.distill_client.cli.conftest import Run
from tests.distill_client.live import Live
from tests.servers import free_port

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
LOCAL = {"up", "demo"}
GROUPS = {"datasets", "models", "keys"}


def leaves() -> dict[str, typer.core.TyperCommand]:  # type: ignore[name-defined] # typer re-exports it at run time
    """Every command by its full name, such as `datasets upload`."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined] # it is a group
        inner = getattr(command, "commands", None)
        found |= {f"{name} {sub}": one for sub, one in inner.items()} if inner else {name: command}
    return found


def test_every_command_has_a_heading_in_the_documentation() -> None:
    headings = re.findall(r"^## (\S+)$", DOCS.read_text(), re.MULTILINE)
    assert headings == list(ORDER)
    assert {name.split()[0] for name in leaves()} == set(ORDER)


def test_every_command_of_a_group_is_documented() -> None:
    text = DOCS.read_text()
    for name in leaves():
        assert f"distill {name}" in text, name


def test_every_option_is_documented_or_says_enough_in_its_help() -> None:
    for name, command in leaves().items():
        for parameter in command.params:
            assert getattr(parameter, "help", ""), f"{name} {parameter.name} has no help"


def test_every_command_that_asks_the_service_has_json() -> None:
    lacking = [
        name
        for name, command in leaves().items()
        if name not in LOCAL and not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert lacking == []


@pytest.mark.parametrize("name", sorted(leaves()))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


def test_nobody_there_says_how_to_start_a_service(run: Run) -> None:
    ran = run("list", url=f"http://127.0.0.1:{free_port()}")
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith("error: no answer from http://127.0.0.1:")
    assert "distill up" in ran.err


def test_an_api_error_has_places_hints_and_the_request_id(run: Run) -> None:
    ran = run("submit", "--teacher", "nobody", "--student", "x", "--dataset", "ds_none", "--json")
    assert ran.code == 1
    assert ran.out == ""
    assert "  /teacher/model: no model 'nobody'" in ran.err
    assert re.search(r"^request: req_\w+$", ran.err, re.MULTILINE)
    assert "hint: " in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["show"],
        ["list", "--nope"],
        ["nope"],
        ["submit"],
        ["list", "-n", "0"],
        ["submit", "--alpha", "2"],
        ["submit", "--alpha", "nan"],
        ["validate", "--T", "nan"],
        ["validate", "--T", "inf"],
        ["chat", "a-model", "--temperature", "nan"],
        ["compare", "job_1", "a prompt", "--temperature", "nan"],
    ],
)
def test_wrong_usage_exits_2(run: Run, words: list[str]) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert ran.out == ""


def test_the_version_is_the_packages() -> None:
    assert re.fullmatch(r"distill \d+\.\d+\.\d+\n", CliRunner().invoke(app, ["--version"]).stdout)


def test_what_the_system_refuses_is_said_in_a_line(run: Run, live: Live, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ran = run("download", live.finished_job(), "--to", str(tmp_path / "file" / "student"))
    assert ran.code == 1
    assert ran.err.startswith(f"error: {tmp_path / 'file' / 'student'}")
    assert ran.err.count("\n") == 1


def test_a_key_that_is_none_is_said_without_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_API_KEY", "dk_secret…")
    ran = run("list")
    assert ran.code == 1
    assert "the API key has characters that no key has" in ran.err
    assert "secret" not in ran.err
