"""A blob is there whole or not at all, and what is read is what was stored, or an error."""

import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.blobs import CHUNK_BYTES, PART_BYTES, Blobs, Stored, sha256_of
from core.errors import BlobDamaged, BlobMissing, StorageUnavailable
from tests.small_disk import run_on_small_disk

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # A folder's name may hold what an URL must write in another way.
    return tmp_path / "a folder #1 (100 %)"


@pytest.fixture
def blobs(folder: Path) -> Blobs:
    return Blobs(folder.as_uri())


@pytest.fixture
def source(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "source"
        path.write_bytes(content)
        return path

    return write


def bytes_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_read_is_what_was_stored(
    blobs: Blobs, source: Callable[[bytes], Path], tmp_path: Path, size: int
) -> None:
    content = bytes_of(size)
    stored = blobs.put("jobs/job_1/model.bin", source(content))
    assert stored == Stored("jobs/job_1/model.bin", size, sha256(content).hexdigest())
    assert b"".join(blobs.stream(stored)) == content
    assert blobs.size(stored.key) == size
    blobs.fetch(stored, tmp_path / "deep" / "down" / "copy")
    assert sha256_of(tmp_path / "deep" / "down" / "copy") == stored.sha256


@given(start=st.integers(0, 3 * CHUNK_BYTES), length=st.integers(0, 2 * CHUNK_BYTES))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_range_is_the_same_bytes(blobs: Blobs, source: Callable[[bytes], Path], start: int, length: int) -> None:
    content = bytes_of(3 * CHUNK_BYTES + 7)
    stored = blobs.put("k", source(content))
    end = min(start + length, stored.bytes)
    assert b"".join(blobs.stream(stored, start, end)) == content[start:end]
    assert blobs.read("k", start, end) == content[start:end]


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_changed_byte_never_delivers_the_last_piece(
    blobs: Blobs, folder: Path, source: Callable[[bytes], Path], size: int, place: float
) -> None:
    stored = blobs.put("k", source(bytes_of(size)))
    changed = bytearray(bytes_of(size))
    changed[int(place * (size - 1))] ^= 1
    (folder / "k").write_bytes(changed)
    delivered: list[bytes] = []
    with pytest.raises(BlobDamaged):
        delivered.extend(blobs.stream(stored))
    assert sum(map(len, delivered)) < size


@pytest.mark.parametrize("size", [0, 1, 99, 101])
def test_another_size_is_said_before_the_first_byte(
    blobs: Blobs, folder: Path, source: Callable[[bytes], Path], size: int
) -> None:
    stored = blobs.put("k", source(bytes_of(100)))
    (folder / "k").write_bytes(bytes_of(size))
    with pytest.raises(BlobDamaged):
        next(blobs.stream(stored))
    with pytest.raises(BlobDamaged):
        next(blobs.stream(stored, 1, 2))


def test_a_damaged_copy_is_not_left_behind(
    blobs: Blobs, folder: Path, source: Callable[[bytes], Path], tmp_path: Path
) -> None:
    stored = blobs.put("k", source(bytes_of(3 * CHUNK_BYTES)))
    (folder / "k").write_bytes(b"x" * stored.bytes)
    with pytest.raises(BlobDamaged):
        blobs.fetch(stored, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_is_not_there_is_missing(blobs: Blobs, tmp_path: Path) -> None:
    stored = Stored("jobs/none", 5, "0" * 64)
    for ask in (
        lambda: blobs.size(stored.key),
        lambda: blobs.read(stored.key, 0, 5),
        lambda: list(blobs.stream(stored)),
        lambda: blobs.fetch(stored, tmp_path / "copy"),
    ):
        with pytest.raises(BlobMissing):
            ask()
    assert not (tmp_path / "copy").exists()
    blobs.delete(stored.key)


def is_for_files(name: str) -> bool:
    """A folder store has a use of its own for names that end in `#` and digits; uploads refuse them."""
    return name.strip(".") != "" and not re.search(r"#\d+$", name)


names = st.text("ab .#%~*é_-0", min_size=1, max_size=12).filter(is_for_files)


@given(st.lists(names, min_size=1, max_size=4, unique_by=str.casefold))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_name_is_stored_listed_and_deleted(
    blobs: Blobs, folder: Path, source: Callable[[bytes], Path], parts: list[str]
) -> None:
    stored = blobs.put(f"models/m/{'/'.join(parts)}", source(b"weights"))
    assert b"".join(blobs.stream(stored)) == b"weights"
    assert list(blobs.list_below("models/m")) == [(stored.key, 7)]
    assert blobs.delete_below("models/m") == 1
    assert not (folder / "models" / "m").exists()


def test_deleting_below_takes_no_neighbour(blobs: Blobs, folder: Path, source: Callable[[bytes], Path]) -> None:
    for key in ("jobs/job_1/a", "jobs/job_1/b/c", "jobs/job_10/a", "jobs/job_1.txt"):
        blobs.put(key, source(b"x"))
    assert blobs.delete_below("jobs/job_1") == 2
    assert sorted(key for key, _ in blobs.list_below("jobs")) == ["jobs/job_1.txt", "jobs/job_10/a"]
    assert not (folder / "jobs" / "job_1").exists()
    assert blobs.delete_below("jobs/job_1") == 0


def test_two_may_delete_the_same_at_once(blobs: Blobs, folder: Path, source: Callable[[bytes], Path]) -> None:
    for turn in range(10):
        for number in range(30):
            blobs.put(f"jobs/{turn}/{number % 5}/{number}", source(b"x"))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(blobs.delete_below, [f"jobs/{turn}"] * 4))
        assert not (folder / "jobs" / str(turn)).exists()


def test_who_reads_while_a_blob_is_replaced_reads_one_of_the_two(
    blobs: Blobs, source: Callable[[bytes], Path], tmp_path: Path
) -> None:
    versions = {name: tmp_path / name for name in "ab"}
    for name, path in versions.items():
        path.write_bytes(name.encode() * CHUNK_BYTES)
    blobs.put("k", versions["a"])

    def replace(turn: int) -> None:
        blobs.put("k", versions["ab"[turn % 2]])

    with ThreadPoolExecutor(2) as pool:
        replaced = [pool.submit(replace, turn) for turn in range(40)]
        while not all(turn.done() for turn in replaced):
            assert len(set(blobs.read("k", 0, CHUNK_BYTES))) == 1


def test_a_large_file_tells_that_its_parts_go_up(blobs: Blobs, source: Callable[[bytes], Path]) -> None:
    content = random.Random(0).randbytes(2 * PART_BYTES + 7)
    heard: list[int] = []
    stored = blobs.put("large", source(content), lambda: heard.append(1))
    assert len(heard) >= 3
    assert b"".join(blobs.stream(stored)) == content
    blobs.put("small", source(b"x"), lambda: heard.append(2))
    assert heard[-1] == 2


def test_a_store_that_is_not_there_is_unavailable(tmp_path: Path, source: Callable[[bytes], Path]) -> None:
    blobs = Blobs((tmp_path / "store").as_uri())
    blobs.check()
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("a file where the folder was")
    with pytest.raises(StorageUnavailable):
        blobs.put("jobs/a", source(b"x"))


FILL_A_DISK = """
import sys
from pathlib import Path
from core.blobs import Blobs
from core.errors import DiskFull

disk, source = Path(sys.argv[1]), Path(sys.argv[2])
blobs = Blobs((disk / "blobs").as_uri())
source.write_bytes(b"x" * 200_000)
kept = blobs.put("kept", source)
source.write_bytes(b"x" * 4_000_000)
for _ in range(3):
    try:
        blobs.put("too/large", source)
    except DiskFull as full:
        assert "too/large" in str(full)
    else:
        raise SystemExit("it fitted")
assert [key for key, _ in blobs.list_below("")] == ["kept"], "a half blob is listed"
assert b"".join(blobs.stream(kept)) == b"x" * 200_000
left = [path.name for path in disk.rglob("*") if path.is_file()]
assert left == ["kept"], f"the failed puts left {left}"
"""


def test_a_full_disk_is_said_and_its_space_given_back(tmp_path: Path) -> None:
    run_on_small_disk(tmp_path / "disk", "1m", FILL_A_DISK, tmp_path / "disk", tmp_path / "source")
