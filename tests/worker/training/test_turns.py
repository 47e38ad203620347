"""Who needs the same reading waits for the one that makes it, and for nobody who cannot make it any more."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from worker.training.teacher_cache import TeacherCache
from worker.training.turns import PATIENCE_SECONDS, turn_at

HOLD = """
import sys, time
from pathlib import Path
from worker.training.turns import turn_at
with turn_at(Path(sys.argv[1]), lambda: None):
    print("mine", flush=True)
    time.sleep(60)
"""


class GaveUp(Exception):
    pass


def give_up() -> None:
    raise GaveUp


def is_free(path: Path) -> bool:
    try:
        with turn_at(path, give_up):
            return True
    except GaveUp:
        return False


def test_jobs_at_the_same_time_read_once(tmp_path: Path) -> None:
    readings: list[int] = []
    together = threading.Barrier(4)

    def job(number: int) -> list[float]:
        cache = TeacherCache(tmp_path / "cache", ["sha"])
        together.wait()
        with cache.alone(["key"], lambda: None) as beat:
            found = cache.find("key")
            if found is None:
                readings.append(number)
                time.sleep(0.3)
                beat()
                found = cache.keep("key", np.arange(3.0), tmp_path / "unused")
        return [float(one) for one in found]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(job, range(4))) == [[0.0, 1.0, 2.0]] * 4
    assert len(readings) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["key.npy"]


def test_readers_of_several_teachers_never_wait_for_each_other(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, ["a", "b"])

    def job(keys: list[str]) -> None:
        for _ in range(20):
            with cache.alone(keys, lambda: None):
                pass

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(job, ["a", "b", "a"]), pool.submit(job, ["b", "a"])]:
            done.result(timeout=30)


def test_where_nothing_is_shared_nobody_waits(tmp_path: Path) -> None:
    for cache, keys in ((TeacherCache(), ["key"]), (TeacherCache(tmp_path, ["sha"]), [None])):
        with cache.alone(keys, give_up), cache.alone(keys, give_up) as beat:
            beat()
    assert list(tmp_path.iterdir()) == []


def test_waiting_can_be_ended(tmp_path: Path) -> None:
    with turn_at(tmp_path / "turn", give_up), pytest.raises(GaveUp), turn_at(tmp_path / "turn", give_up):
        pass
    assert is_free(tmp_path / "turn")


def test_a_reader_that_is_killed_leaves_its_turn_free(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        assert not is_free(path)
        reader.kill()
        reader.wait()
    assert is_free(path)


def test_a_reader_without_a_sign_of_life_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    with turn_at(path, give_up) as beat:
        long_ago = time.time() - PATIENCE_SECONDS - 1
        os.utime(path, (long_ago, long_ago))
        assert is_free(path)
        assert path.exists(), "it is still the frozen one's to take away"
        beat()
        assert not is_free(path)
