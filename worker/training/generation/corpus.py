"""Texts as a data set that grows on disk: a killed job continues where it stopped and writes no sample twice.

A corpus is a folder: `corpus.json` says what it was made for, `samples-00000.jsonl` and its successors hold one sample
a line. A batch is one write that ends in a line marked `"last": true`, and is on the disk before the next one begins.
On opening, everything behind the last such line is cut off: a batch is there whole or not at all, so that a resumed
run writes the batches of an uninterrupted one.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.training.checkpoints import SEAL
from worker.training.generation.samples import Sample

HEADER = "corpus.json"
SHARD_BYTES = 32 << 20

Key = tuple[int, int]


class Corpus:
    """The samples of one plan. Iterating yields them by prompt and sample number, however they were written."""

    def __init__(self, folder: Path, plan: str) -> None:
        """Open a corpus, or begin one: texts of another plan (a digest of all that decides them) are thrown away."""
        self.folder, self.plan = folder, plan
        self.places: dict[Key, tuple[int, int]] = {}
        """Shard number and byte offset of each sample."""
        self.shard, self.end = 0, 0
        if plan_of(folder) != plan:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _write_durably(folder / HEADER, json.dumps({"format": 1, "plan": plan}).encode())
        self._scan()

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, key: Key) -> bool:
        return key in self.places

    def __iter__(self) -> Iterator[Sample]:
        numbers = sorted({shard for shard, _ in self.places.values()})
        files = {number: self._path(number).open("rb") for number in numbers}
        try:
            for key in sorted(self.places):
                shard, offset = self.places[key]
                files[shard].seek(offset)
                yield parsed(files[shard].readline())[0]
        finally:
            for file in files.values():
                file.close()

    def append(self, samples: Sequence[Sample]) -> None:
        """Add a batch; when this returns it is on the disk. Samples that are there already are left out."""
        fresh = [sample for sample in samples if sample.key not in self]
        if not fresh:
            return
        if self.end >= SHARD_BYTES:
            self.shard, self.end = self.shard + 1, 0
        lines = [line_of(sample, is_last=sample is fresh[-1]) for sample in fresh]
        _append_durably(self._path(self.shard), b"".join(lines))
        for sample, line in zip(fresh, lines, strict=True):
            self.places[sample.key] = (self.shard, self.end)
            self.end += len(line)

    def copy_to(self, folder: Path) -> None:
        """Copy what is there into an empty folder, for a checkpoint: samples, and what is kept beside them.

        Full shards never change and are only linked.
        """
        folder.mkdir(parents=True)
        for file in self.beside():
            shutil.copyfile(file, folder / file.name)
        for number in range(self.shard + 1 if self.places else 0):
            source, target = self._path(number), folder / self._path(number).name
            if number == self.shard:
                shutil.copyfile(source, target)
            else:
                _link(source, target)

    def beside(self) -> list[Path]:
        """Return the header, and what a writer keeps beside the samples."""
        return [file for file in sorted(self.folder.glob("*.json")) if file.name != SEAL]

    def _path(self, number: int) -> Path:
        return self.folder / f"samples-{number:05}.jsonl"

    def _scan(self) -> None:
        """Find every whole batch. What is damaged, and all that stands behind it, is cut off and written again."""
        number = 0
        while self._path(number).exists():
            size = self._path(number).stat().st_size
            self.shard, self.end = number, self._scan_shard(number)
            if self.end < size:
                break
            number += 1
        if self._path(self.shard).exists():
            os.truncate(self._path(self.shard), self.end)
        for later in self.folder.glob("samples-*.jsonl"):
            if later > self._path(self.shard):
                later.unlink()

    def _scan_shard(self, number: int) -> int:
        """Index a shard's whole batches; return the offset behind the last of them."""
        offset = end = 0
        batch: dict[Key, tuple[int, int]] = {}
        with self._path(number).open("rb") as file:
            for line in file:
                try:
                    sample, is_last = parsed(line)
                except (ValueError, TypeError, KeyError):
                    break
                batch[sample.key] = (number, offset)
                offset += len(line)
                if is_last:
                    self.places |= batch
                    batch, end = {}, offset
        return end


def plan_of(folder: Path) -> str | None:
    """Return the plan that the corpus in a folder was made for, or None where there is none."""
    try:
        return str(json.loads((folder / HEADER).read_bytes())["plan"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def line_of(sample: Sample, *, is_last: bool) -> bytes:
    written = {**sample.as_json(), "last": True} if is_last else sample.as_json()
    # A lone surrogate, which a server's JSON may carry, has no UTF-8.
    return json.dumps(written, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def parsed(line: bytes) -> tuple[Sample, bool]:
    """Read one line. Raises ValueError, KeyError or TypeError where it is cut or changed."""
    if not line.endswith(b"\n"):
        raise ValueError("a line that was cut")
    fields = json.loads(line)
    is_last = bool(fields.pop("last", False))
    return Sample(**fields), is_last


def _append_durably(path: Path, content: bytes) -> None:
    begins = not path.exists()
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if begins:
        _sync_folder(path.parent)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one that knows no links
        shutil.copyfile(source, target)
