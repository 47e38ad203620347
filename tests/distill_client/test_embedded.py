"""The embedded service lives as long as the process that started it, however that ends."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from distill_client.embedded import embedded_service
from tests.servers import words_of


def test_a_killed_owner_takes_the_whole_tree_with_it(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from distill_client.embedded import embedded_service\n"
    script += "with embedded_service(Path(sys.argv[1])) as url: print(url, flush=True); time.sleep(300)"
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith(b"http://127.0.0.1:")
    tree = psutil.Process(owner.pid).children(recursive=True)
    assert len(tree) >= 4, "launcher, broker, service, worker and sweeper"
    owner.kill()
    owner.wait()
    owner.stdout.close()
    _, alive = psutil.wait_procs(tree, timeout=60)
    assert not alive


def test_leaving_the_block_stops_the_whole_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_READY_CHILD", "false")
    with embedded_service(tmp_path) as url:
        assert url.startswith("http://127.0.0.1:")
        # Another test's service may run beside ours, for as long as its module lasts.
        data = str(tmp_path / "data")
        tree = [process for process in psutil.Process().children(recursive=True) if data in words_of(process)]
        tree += [child for process in tree for child in process.children(recursive=True)]
        assert len(tree) >= 5, "launcher, broker, service, worker and sweeper"
        time.sleep(0.5)
    _, alive = psutil.wait_procs(tree, timeout=60)
    assert not alive, (tmp_path / "launcher.log").read_text()
