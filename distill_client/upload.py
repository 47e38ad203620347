"""Files on their way up: counted, and packed where the server wants one file for a folder."""

import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

import httpx

from distill_client.transport import Transport

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes moved so far and, where known, all of them."""
SPOOL_BYTES = 8 << 20
ANSWER_SECONDS = 600.0


class CountedFile:
    """A file that tells how much of it has been read. A retry rewinds it."""

    def __init__(self, file: IO[bytes], on_progress: OnProgress | None) -> None:
        self.file = file
        self.on_progress = on_progress
        self.total_bytes = file.seek(0, 2)
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        piece = self.file.read(size)
        if self.on_progress is not None and piece:
            self.on_progress(self.file.tell(), self.total_bytes)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def upload(
    transport: Transport, path: str, file: IO[bytes], filename: str, name: str | None, on_progress: OnProgress | None
) -> httpx.Response:
    """POST a file as multipart, streamed. Raises ApiError, ServerUnreachable."""
    counted = CountedFile(file, on_progress)
    # One boundary and one key for all attempts: the body of a retry is the same, byte for byte.
    headers = {"Idempotency-Key": str(uuid4()), "Content-Type": f"multipart/form-data; boundary={uuid4().hex}"}
    # The server checks every line or tensor before it answers.
    timeout = transport.patient(ANSWER_SECONDS)

    def make_request() -> httpx.Request:
        return transport.http.build_request(
            "POST",
            path,
            data={"name": name} if name else {},
            files={"file": (filename, counted, "application/octet-stream")},  # type: ignore[dict-item] # it reads and seeks: all that httpx asks
            headers=headers,
            timeout=timeout,
        )

    return transport.send(make_request)


@contextmanager
def packed(folder: Path) -> Iterator[IO[bytes]]:
    """The folder's files as a .tar in a temporary file, in memory while small."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        with tarfile.open(fileobj=spool, mode="w") as tar:
            for file in sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder)):
                tar.add(file, arcname=file.relative_to(folder).as_posix(), filter=_plain)
        spool.seek(0)
        yield spool


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Neither whose files they were nor when: the same folder gives the same archive."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
