"""From a file as it came to its plain bytes: unpacked while they are read, bounded in all and per line."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from service.datasets.faults import refused

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
BOM = b"\xef\xbb\xbf"
# A frame that asks for a larger window than zstd itself allows by default would take that much memory.
MAX_ZSTD_WINDOW = 1 << 27
PEEK_BYTES = 1 << 16


class Expanded(io.RawIOBase):
    """The plain bytes of a packed or plain file. Reading past `max_bytes` raises Refused."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.file = path.open("rb")
        self.source = _unpacking(self.file)
        self.max_bytes = max_bytes
        self.total_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type] # typeshed has no name for a writable buffer here
        try:
            piece = self.source.read(len(view))
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise refused("broken_archive", f"the file cannot be unpacked: {error}") from error
        self.total_bytes += len(piece)
        if self.total_bytes > self.max_bytes:
            raise refused("too_large_expanded", f"unpacked it has more than {self.max_bytes} bytes")
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self.file.close()
        super().close()


def open_expanded(path: Path, max_bytes: int) -> io.BufferedReader:
    return io.BufferedReader(Expanded(path, max_bytes), PEEK_BYTES)


def _unpacking(file: BinaryIO) -> BinaryIO:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(GZIP_MAGIC):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    if magic == ZSTD_MAGIC:
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
        return cast(BinaryIO, reader.stream_reader(file, read_across_frames=True))
    return file


def lines_of(source: io.BufferedReader, max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line with its end). Raises Refused for a line that is too long."""
    number = 0
    while line := source.readline(max_line_bytes + 1):
        number += 1
        if len(line) > max_line_bytes:
            raise refused("line_too_long", f"the line has more than {max_line_bytes} bytes", line=number)
        yield number, line.removeprefix(BOM) if number == 1 else line


def refuse_utf16(head: bytes) -> None:
    """Raise Refused where the first bytes are UTF-16's or UTF-32's, with its mark or as every other byte a zero."""
    has_mark = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    pairs = head[:64]
    alternates = len(pairs) >= 4 and (not any(pairs[1::2]) or not any(pairs[::2]))
    if has_mark or alternates:
        raise refused("utf16", "the file is UTF-16, not UTF-8", line=1, column=1)
