import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_client.cli.failures import CommandFailed
from distill_client.cli.sweep_table import table_of
from distill_client.cli.sweeps import grid_of
from distill_client.shapes import Sweep, SweepPoint
from tests.distill_client.cli.conftest import Run
from tests.distill_client.live import REPORT, Live, quality
from tests.service.samples import spec


@pytest.fixture
def file(live: Live, tmp_path: Path) -> str:
    with live.client() as client:
        written = spec(client.transport.http)
    (tmp_path / "base.json").write_text(json.dumps(written))
    return str(tmp_path / "base.json")


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("T=1,2,4", [1, 2, 4]),
        ("alpha=0.5", [0.5]),
        ("lr=1e-4, 5e-4", [1e-4, 5e-4]),
        ("x=linear,cosine", ["linear", "cosine"]),
        ("x=null,3,auto", [None, 3, "auto"]),
        ("layers=[0,3],[0,2,5]", [[0, 3], [0, 2, 5]]),
        ('student={"model":"a"},"b"', [{"model": "a"}, "b"]),
    ],
)
def test_values_are_read_as_in_a_list_or_as_words(written: str, values: list[Any]) -> None:
    assert list(grid_of([written]).values()) == [values]


@given(st.lists(st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()), min_size=1))
def test_any_json_can_be_a_value(values: list[Any]) -> None:
    assert grid_of([f"a.b={json.dumps(values)[1:-1]}"]) == {"a.b": values}


@pytest.mark.parametrize("written", [["T"], ["=1"], ["T="], ["T=1", "T=2"]])
def test_an_axis_without_path_or_values_or_twice_is_refused(written: list[str]) -> None:
    with pytest.raises(CommandFailed, match="--grid"):
        grid_of(written)


def test_a_sweep_needs_a_grid(run: Run, file: str) -> None:
    ran = run("sweep", file)
    assert (ran.code, ran.out) == (2, "")


def played(live: Live, name: str) -> threading.Thread:
    """A worker that runs the jobs of a sweep with ever better students."""

    def work() -> None:
        deadline = time.monotonic() + 30
        with live.client() as client:
            while time.monotonic() < deadline:
                found = next((one for one in client.sweeps.list(5) if one.name == name), None)
                if found is not None:
                    for place, point in enumerate(client.sweeps.get(found.id).points):
                        after = quality(0.7 + place / 100)
                        live.worker(point.job_id or "").succeed({**REPORT, "student_after": after})
                    return
                time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_sweep_ends_with_a_table_and_its_best(run: Run, live: Live, file: str) -> None:
    worker = played(live, "table")
    ran = run("sweep", file, "--grid", "T=1,2", "--grid", "alpha=0.5,0.9", "--name", "table")
    worker.join()
    assert ran.code == 0, ran.err
    header, *lines = ran.out.splitlines()
    figures = ["ACCURACY", "GAIN", "AGREEMENT", "KL", "SIZE", "LATENCY", "PARAMETERS", "SPEED", "JOB"]
    assert header.split() == ["T", "alpha", "STATUS", *figures]
    assert [line.split()[:3] for line in lines[:4]] == [
        ["1", "0.5", "succeeded"],
        ["1", "0.9", "succeeded"],
        ["2", "0.5", "succeeded"],
        ["2", "0.9", "succeeded"],
    ]
    assert ["best" in line for line in lines[:4]] == [False, False, False, True]
    assert lines[4] == "Best: T=2, alpha=0.9, accuracy 73.0 %"
    assert re.fullmatch(r"Report: distill report (job_\w+)    Student: distill download \1", lines[5])
    assert "4 of 4: T=2, alpha=0.9 succeeded" in ran.err
    assert "note: The student on labels alone" in ran.err


def test_a_sweep_as_json_is_what_the_server_says_and_nothing_else(run: Run, live: Live, file: str) -> None:
    worker = played(live, "json")
    ran = run("sweep", file, "--grid", "T=1,2", "--name", "json", "--json")
    worker.join()
    (found,) = ran.lines
    assert (found["status"], found["best"]) == ("succeeded", found["points"][1]["job_id"])


def test_a_sweeps_life_in_commands(run: Run, file: str) -> None:
    sweep_id = run("sweep", file, "--grid", "T=1,2", "--set", "alpha=0.25", "--detach", "--name", "life").out.strip()
    assert sweep_id.startswith("sweep_")
    assert run("sweeps", "list", "-n", "1", "--json").lines[0]["id"] == sweep_id
    assert sweep_id in run("sweeps").out
    shown = run("sweeps", "show", sweep_id, "--json").lines[0]
    assert shown["base"]["alpha"] == 0.25
    assert "QUALITY" in run("sweeps", "show", sweep_id).out
    refused = run("sweeps", "delete", sweep_id)
    assert (refused.code, "2 unfinished jobs" in refused.err) == (1, True)
    assert run("sweeps", "cancel", sweep_id).out == f"{sweep_id} is cancelled\n"
    assert run("sweeps", "watch", sweep_id).code == 130
    assert run("sweeps", "delete", sweep_id).out == f"Deleted {sweep_id}\n"
    assert run("sweeps", "show", sweep_id).code == 1


def test_a_wrong_value_is_shown_with_its_place(run: Run, file: str) -> None:
    ran = run("sweep", file, "--grid", "T=1,0")
    assert (ran.code, ran.out) == (1, "")
    assert "/grid/T/1" in ran.err


def test_a_value_cannot_move_the_terminals_cursor() -> None:
    point = SweepPoint(place=1, values={"x": "\x1b[2J"}, status="queued")
    table = table_of(Sweep(id="sweep_1", status="queued", grid={"x": ["\x1b[2J"]}, points=[point]))
    assert "\x1b" not in str(list(table.columns[0].cells))
