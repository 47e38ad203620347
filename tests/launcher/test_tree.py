"""`distill up`: one command starts everything, keeps it running, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.servers import words_of

COMMAND = [sys.executable, "-m", "launcher"]
PATIENCE_SECONDS = 60.0


@dataclass
class Up:
    url: str
    root: psutil.Process
    popen: subprocess.Popen[str]

    def part(self, *words: str) -> psutil.Process:
        """The part whose command line ends in `words`."""
        return next(found for found in self.root.children() if words_of(found)[-len(words) :] == list(words))

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def up(folder: Path, **settings: str) -> Iterator[Up]:
    ready = folder / "ready.json"
    # Short waits, so that a test that stops a worker is over soon; and nobody imports what trains for no job.
    quick = {"DISTILL_SHUTDOWN_GRACE_SECONDS": "5", "DISTILL_HUB": "false", "DISTILL_READY_CHILD": "false"}
    environment = {**os.environ, **quick, **settings}
    popen = subprocess.Popen(
        [*COMMAND, "--port", "0", "--data", str(folder / "data"), "--ready-file", str(ready)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    root = psutil.Process(popen.pid)
    try:
        wait_until(lambda: ready.exists() or popen.poll() is not None)
        assert ready.exists(), popen.communicate()[0]
        said = json.loads(ready.read_text())
        assert said["pid"] == popen.pid
        yield Up(said["url"], root, popen)
    finally:
        if popen.poll() is None:
            popen.terminate()
            popen.wait(PATIENCE_SECONDS)
        assert popen.stdout is not None
        popen.stdout.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def gone(processes: list[psutil.Process]) -> bool:
    return all(not found.is_running() or found.status() == psutil.STATUS_ZOMBIE for found in processes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_answers_once_it_is_ready_and_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    with up(tmp_path, DISTILL_READY_CHILD="true") as tree:
        wait_until(tree.is_ready)
        everyone = tree.root.children(recursive=True)
        names = {" ".join(words_of(found)) for found in everyone}
        for part in ("-m service", "-m worker", "-m worker.sweeper", "valkey"):
            assert any(part in name for name in names), part
        tree.popen.send_signal(number)
        assert tree.popen.wait(PATIENCE_SECONDS) == 0
        wait_until(lambda: gone(everyone))
        assert not (tmp_path / "ready.json").exists()
        assert "Ctrl-C stops all of it" in tree.popen.communicate()[0]


def test_with_a_broker_of_ones_own_the_database_is_brought_up_to_date_too(tmp_path: Path, valkey: str) -> None:
    with up(tmp_path, DISTILL_BROKER_URL=valkey) as tree:
        wait_until(tree.is_ready)
        assert not any("valkey" in " ".join(words_of(found)) for found in tree.root.children(recursive=True))


def test_a_second_on_the_same_folder_is_refused_and_a_dead_part_comes_back(tmp_path: Path) -> None:
    with up(tmp_path) as tree:
        second = subprocess.run(
            [*COMMAND, "--port", "0", "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert "another `distill up` runs on" in second.stderr

        for words in (("-m", "service"), ("-m", "worker.sweeper")):
            killed = tree.part(*words)
            killed.kill()
            wait_until(lambda killed=killed: gone([killed]))  # type: ignore[misc]
            wait_until(lambda words=words, killed=killed: is_back(tree, words, killed))  # type: ignore[misc]
        wait_until(tree.is_ready)


def is_back(tree: Up, words: tuple[str, ...], killed: psutil.Process) -> bool:
    try:
        return tree.part(*words).pid != killed.pid
    except (StopIteration, psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def test_when_its_root_is_killed_outright_its_parts_end_too(tmp_path: Path) -> None:
    with up(tmp_path) as tree:
        everyone = tree.root.children(recursive=True)
        tree.popen.kill()
        tree.popen.wait()
        wait_until(lambda: gone(everyone))


def test_what_did_not_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [*COMMAND, "--port", str(taken.getsockname()[1]), "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "service did not start" in done.stdout
    assert "address already in use" in done.stdout


def test_secrets_stay_out_of_the_process_list_and_off_the_screen(tmp_path: Path) -> None:
    with up(tmp_path) as tree:
        password = (tmp_path / "data" / "broker" / "valkey.conf").read_text().split("requirepass ")[1].split()[0]
        lines = [" ".join(words_of(found)) for found in [tree.root, *tree.root.children(recursive=True)]]
        assert not any(password in line for line in lines)
        tree.popen.terminate()
        assert password not in tree.popen.communicate()[0]
