"""What the training process prints: the newest of it, bounded, kept in storage while it grows."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import structlog

from core.blobs import Blobs
from core.errors import BlobMissing, DistillError

log = structlog.get_logger()

UPLOAD_SECONDS = 3.0


def log_key(job_id: str) -> str:
    return f"jobs/{job_id}/log.txt"


class JobLog:
    """Reads a pipe to its end on a thread of its own and keeps the last `max_bytes` of what came.

    Storage or this machine's disk may fail it: then the log waits here, and nothing is raised.
    """

    def __init__(self, pipe: IO[bytes], blobs: Blobs, job_id: str, folder: Path, max_bytes: int) -> None:
        self.pipe, self.blobs, self.key, self.max_bytes = pipe, blobs, log_key(job_id), max_bytes
        self.file = folder / f"{job_id}.log"
        self._kept = bytearray()
        self._has_earlier = False
        self._lock = threading.Lock()
        self._changed = False
        self._done = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._uploader = threading.Thread(target=self._upload_now_and_then, daemon=True)
        self._reader.start()
        self._uploader.start()

    def close(self) -> None:
        """Wait for the pipe's end and store the whole."""
        self._reader.join(10)
        self.pipe.close()
        self._done.set()
        self._uploader.join(10)
        self.upload()
        with suppress(OSError):
            self.file.unlink(missing_ok=True)

    def last_lines(self, count: int = 5) -> str:
        with self._lock:
            text = bytes(self._kept[-20_000:]).decode(errors="replace")
        return " | ".join(line.strip()[:300] for line in text.splitlines()[-count:] if line.strip())

    def upload(self) -> None:
        """Store the log as it is now; what cannot be stored is tried again at the next turn."""
        try:
            self._upload()
        except (DistillError, OSError) as error:
            log.warning("the log of a job was not stored", key=self.key, reason=str(error))
            with self._lock:
                self._changed = True

    def _upload(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
        self._put_earlier_first()
        with self._lock:
            content = bytes(self._kept)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(content)
        self.blobs.put(self.key, self.file)

    def _put_earlier_first(self) -> None:
        """Take in what earlier attempts left, before it is written over."""
        if self._has_earlier:
            return
        earlier = self._earlier_attempts()
        with self._lock:
            self._kept[:0] = earlier
            self._has_earlier = True
            self._cut()

    def _earlier_attempts(self) -> bytes:
        try:
            size = self.blobs.size(self.key)
        except BlobMissing:
            return b""
        return self.blobs.read(self.key, max(0, size - self.max_bytes), size)

    def _read(self) -> None:
        while piece := self.pipe.read1(1 << 16):  # type: ignore[attr-defined]
            with self._lock:
                self._kept += piece
                self._cut()
                self._changed = True

    def _cut(self) -> None:
        # At twice the bound, not at each piece: a flood would else be copied over and over.
        if len(self._kept) > 2 * self.max_bytes:
            del self._kept[: -self.max_bytes]

    def _upload_now_and_then(self) -> None:
        while not self._done.wait(UPLOAD_SECONDS):
            self.upload()
