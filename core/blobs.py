"""Bytes in storage, by key: a folder, S3, Google or Azure storage, by URL. A blob is there whole or not at all."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import LocalStore, ObjectStore, from_url

from core.errors import BlobDamaged, BlobMissing, DiskFull, StorageUnavailable

CHUNK_BYTES = 1 << 20
PART_BYTES = 5 << 20
"""Of what goes up in parts: the least that S3 takes."""


@dataclass(frozen=True)
class Stored:
    key: str
    bytes: int
    sha256: str


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Blobs:
    """One store. A write appears under its key only when complete (a rename, or the end of a multipart upload)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store: ObjectStore = _open(url)

    def put(self, key: str, source: Path, moved: Callable[[], None] | None = None) -> Stored:
        """Store a file; large ones go up in parts, and `moved` is called at each.

        Raises DiskFull, StorageUnavailable.
        """
        digest = sha256_of(source)
        content: Path | Iterator[bytes] = source
        if moved is not None and source.stat().st_size > PART_BYTES:
            content = _parts(source, moved)
        with _in_our_words(key):
            obstore.put(self.store, key, content, chunk_size=PART_BYTES)
        if moved is not None:
            moved()
        return Stored(key, source.stat().st_size, digest)

    def size(self, key: str) -> int:
        """Bytes of a blob. Raises BlobMissing."""
        with _in_our_words(key):
            return int(obstore.head(self.store, key)["size"])

    def read(self, key: str, start: int, end: int) -> bytes:
        """Return bytes [start, end) of a blob, unverified. Raises BlobMissing."""
        if start >= end:
            return b""
        with _in_our_words(key):
            return bytes(obstore.get_range(self.store, key, start=start, end=end))

    def stream(self, stored: Stored, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield bytes [start, end) of a blob.

        A whole blob is hashed on its way, and its last piece held back until the hash is right: a reader gets what was
        stored or an end too early, never other bytes. Raises BlobMissing and BlobDamaged (before the first byte, where
        the size tells).
        """
        if self.size(stored.key) != stored.bytes:
            raise BlobDamaged(stored.key)
        end = stored.bytes if end is None else end
        if start == 0 and end == stored.bytes:
            return self._hashed(stored)
        return self._pieces(stored.key, start, end)

    def fetch(self, stored: Stored, target: Path, moved: Callable[[], None] | None = None) -> None:
        """Copy a blob to a file; `moved` is called at each piece.

        Raises BlobMissing, BlobDamaged; a damaged copy is not left behind.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("wb") as file:
                for piece in self.stream(stored):
                    file.write(piece)
                    if moved is not None:
                        moved()
        except Exception:
            target.unlink(missing_ok=True)
            raise

    def delete(self, key: str) -> None:
        """Delete one blob; one that is not there is no error."""
        with suppress(BlobMissing), _in_our_words(key):
            obstore.delete(self.store, key)

    def delete_below(self, prefix: str) -> int:
        """Delete every blob below `prefix/`. Returns how many there were."""
        keys = [key for key, _ in self.list_below(prefix)]
        for key in keys:
            self.delete(key)
        _remove_empty_folders(self.store, prefix)
        return len(keys)

    def list_below(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) of every blob below `prefix/`. Raises StorageUnavailable."""
        with _in_our_words(prefix):
            for batch in obstore.list(self.store, prefix=prefix.rstrip("/") + "/"):
                for blob in batch:
                    yield blob["path"], int(blob["size"])

    def check(self) -> None:
        """Raise StorageUnavailable where the store cannot be reached."""
        with _in_our_words(self.url):
            next(iter(obstore.list(self.store, prefix="readiness/", chunk_size=1)), None)

    def _pieces(self, key: str, start: int, end: int) -> Iterator[bytes]:
        for first in range(start, end, CHUNK_BYTES):
            yield self.read(key, first, min(end, first + CHUNK_BYTES))

    def _hashed(self, stored: Stored) -> Iterator[bytes]:
        digest, held = hashlib.sha256(), b""
        for piece in self._pieces(stored.key, 0, stored.bytes):
            digest.update(piece)
            if held:
                yield held
            held = piece
        if digest.hexdigest() != stored.sha256:
            raise BlobDamaged(stored.key)
        if held:
            yield held


def _parts(source: Path, moved: Callable[[], None]) -> Iterator[bytes]:
    with source.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part
            moved()


@contextmanager
def _in_our_words(key: str) -> Iterator[None]:
    """Say a store's own errors as ours."""
    try:
        yield
    except FileNotFoundError:
        raise BlobMissing(key) from None
    except (ObstoreError, OSError) as error:
        first_line = str(error).splitlines()[0]
        if "No space left on device" in str(error):
            raise DiskFull(f"no space left for '{key}'") from error
        raise StorageUnavailable(f"'{key}': {first_line}") from error


def _open(url: str) -> ObjectStore:
    parts = urlparse(url)
    if parts.scheme == "file":
        folder = Path(url2pathname(parts.path))
        folder.mkdir(parents=True, exist_ok=True)
        return LocalStore(folder)
    return from_url(url)


def _remove_empty_folders(store: ObjectStore, prefix: str) -> None:
    """A folder store leaves folders behind where an object store has none."""
    if not isinstance(store, LocalStore) or store.prefix is None:
        return
    for folder, _, _ in os.walk(Path(store.prefix) / prefix, topdown=False):
        # Another may delete the same, or store something here again: neither is an error.
        with suppress(OSError):
            Path(folder).rmdir()
