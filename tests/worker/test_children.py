"""A training process is there before its job, serves one, and never outlives its worker."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.wire import NOT_CLAIMED, READY, Order
from migrations.revisions import upgrade
from worker.children import Children

ORDER = Order(job="job_gone", token="token", worker="worker-a")
ECHO = "import sys; print(sys.argv[1:], sys.stdin.readline().strip(), flush=True)"


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Children that say how they were started and what they were told."""
    script = tmp_path / "child.py"
    script.write_text(ECHO)
    made = Children((sys.executable, str(script)), keep_ready=True)
    yield made
    made.close()


def words_of(child: subprocess.Popen[bytes]) -> str:
    """What a child said; it has ended."""
    assert child.stdin is not None
    said, _ = child.communicate()
    return said.decode()


def test_the_child_that_is_ready_gets_the_job_and_the_next_one_is_new(children: Children) -> None:
    children.prepare()
    ready, cold = words_of(children.start(ORDER)), words_of(children.start(ORDER))
    assert READY in ready
    assert "job_gone" in ready
    assert READY not in cold
    assert '"token":"token"' in cold


def test_only_one_child_waits(children: Children) -> None:
    children.prepare()
    children.prepare()
    assert len(mine()) == 1


def test_a_child_that_died_while_it_waited_is_not_given_a_job(children: Children) -> None:
    children.prepare()
    (waiting,) = mine()
    waiting.kill()
    waiting.wait()
    assert READY not in words_of(children.start(ORDER))


def test_a_waiting_child_ends_with_its_worker(children: Children) -> None:
    children.prepare()
    children.close()
    assert mine() == []


def test_nothing_waits_where_that_is_not_wanted(children: Children) -> None:
    children.keep_ready = False
    children.prepare()
    assert mine() == []


def mine() -> list[psutil.Process]:
    """The children of this test that live."""
    living = [process for process in psutil.Process().children() if process.status() != psutil.STATUS_ZOMBIE]
    return [process for process in living if "child.py" in " ".join(words_once_started(process))]


def words_once_started(process: psutil.Process) -> list[str]:
    """A process has no command line yet in the moment in which it becomes another program."""
    deadline = time.monotonic() + 5
    while not (words := process.cmdline()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return words


def test_a_real_child_imports_what_trains_and_then_reads_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    upgrade(url)
    monkeypatch.setenv("DISTILL_DATABASE_URL", url)
    monkeypatch.setenv("DISTILL_DATA", str(tmp_path))
    real = Children(keep_ready=True)
    real.prepare()
    child = real.start(ORDER)
    assert child.wait(120) == NOT_CLAIMED, child.stdout and child.stdout.read()
    assert words_of(child) == "", "a waiting process has nothing to say"


def test_a_real_child_that_is_never_needed_ends_in_peace() -> None:
    child = subprocess.Popen([sys.executable, "-m", "worker.run"], stdin=subprocess.PIPE)
    child.communicate()
    assert child.returncode == 0
