"""What teachers said is kept per owner, and never more or longer than the operator wants."""

import os
import time
from pathlib import Path

from core.settings import Settings
from worker.cache import cache_folder, make_room


def put(path: Path, size: int, days_ago: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    at = time.time() - days_ago * 86_400
    os.utime(path, (at, at))
    return path


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    old, middle, young = (put(tmp_path / owner / "a.npy", 100, ago) for owner, ago in (("x", 3), ("y", 2), ("z", 1)))
    make_room(tmp_path, 250, 10 * 86_400)
    assert (old.exists(), middle.exists(), young.exists()) == (False, True, True)


def test_what_was_not_used_for_long_goes_even_where_there_is_room(tmp_path: Path) -> None:
    old, young = put(tmp_path / "x" / "a.npy", 1, 11), put(tmp_path / "x" / "b.npy", 1, 9)
    make_room(tmp_path, 1000, 10 * 86_400)
    assert (old.exists(), young.exists()) == (False, True)


def test_owners_never_meet_whatever_their_names(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    ann, bob = cache_folder(settings, "ann"), cache_folder(settings, "../ann")
    assert ann != bob
    assert ann is not None
    assert bob is not None
    assert ann.is_dir()
    assert bob.parent == ann.parent


def test_nothing_is_kept_where_the_operator_wants_nothing(tmp_path: Path) -> None:
    assert cache_folder(Settings(data=tmp_path, cache_bytes=0), "ann") is None
