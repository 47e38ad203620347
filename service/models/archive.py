"""Unpacking an archive that nobody trusts: plain files with plain names, bounded in number, size and reading."""

import gzip
import re
import secrets
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

from service.bounded_file import BoundedFile
from service.models.faults import refused

MAX_FILES = 1000
MAX_READ_BYTES = 4 << 20
COPY_BYTES = 1 << 20
MAX_NAME = 200
MAX_PART_BYTES = 240
"""Most file systems take 255, of which folder stores need some for writes under way."""
MAX_ZSTD_WINDOW = 1 << 27
GZIP_MAGIC, ZSTD_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK"
TAR_MAGIC_PLACE, TAR_MAGIC = 257, b"ustar"

Check = Callable[[str, int], None]
"""Called with each member's name and size before it is unpacked; raises ModelRefused."""


def unpack(archive: BinaryIO, target: Path, max_bytes: int, check: Check) -> None:
    """Unpack into `target`, without the single folder that may stand around everything. Raises ModelRefused."""
    archive.seek(0)
    head = archive.read(TAR_MAGIC_PLACE + len(TAR_MAGIC))
    archive.seek(0)
    writer = _Writer(target, max_bytes, check)
    with _in_words():
        if head.startswith(ZIP_MAGIC):
            _unpack_zip(archive, writer)
        elif head.startswith(GZIP_MAGIC):
            _unpack_tar(cast(BinaryIO, gzip.GzipFile(fileobj=archive, mode="rb")), writer)
        elif head.startswith(ZSTD_MAGIC):
            reader = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
            _unpack_tar(cast(BinaryIO, reader.stream_reader(archive, read_across_frames=True)), writer)
        elif head[TAR_MAGIC_PLACE:] == TAR_MAGIC:
            _unpack_tar(archive, writer)
        else:
            raise refused("unknown_archive", "this is neither a zip nor a tar archive")
    _strip_single_folder(target)


class _Writer:
    """Writes members, and refuses what no model folder needs."""

    def __init__(self, target: Path, max_bytes: int, check: Check) -> None:
        self.target, self.left_bytes, self.check = target, max_bytes, check
        self.names: set[str] = set()
        self.members = 0

    def count(self) -> None:
        self.members += 1
        if self.members > MAX_FILES:
            raise refused("too_many_files", f"there are more than {MAX_FILES} members")

    def write(self, name: str, size: int, source: IO[bytes]) -> None:
        name = _plain_name(name)
        if name.casefold() in self.names:
            raise refused("unsafe_member", "stands twice in the archive, or differs in case alone", name)
        self.names.add(name.casefold())
        self._take(size)
        self.check(name, size)
        path = self.target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with path.open("xb") as file:
            while piece := source.read(COPY_BYTES):
                written += len(piece)
                if written > size:
                    raise refused("broken_archive", "is larger than the archive says", name)
                file.write(piece)
        if written != size:
            raise refused("broken_archive", "is shorter than the archive says", name)

    def _take(self, size: int) -> None:
        self.left_bytes -= size
        if self.left_bytes < 0:
            raise refused("too_large_expanded", "the archive unpacks to more than is allowed")


def _plain_name(name: str) -> str:
    parts = name.removeprefix("./").split("/")
    odd = "\\" in name or ":" in name or any(ord(character) < 32 or ord(character) == 127 for character in name)
    # Folder stores keep names that end in `#` and digits for writes under way, and take no file of such a name.
    odd = odd or re.search(r"#\d+$", name, re.ASCII) is not None
    odd = odd or any(len(part.encode("utf-8", "replace")) > MAX_PART_BYTES for part in parts)
    if odd or len(name) > MAX_NAME or any(part in ("", ".", "..") for part in parts) or not _is_unicode(name):
        raise refused("unsafe_member", "is no plain relative name", _shown(name))
    return "/".join(parts)


def _is_unicode(name: str) -> bool:
    return _shown(name) == name


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _unpack_zip(archive: BinaryIO, writer: _Writer) -> None:
    with zipfile.ZipFile(cast(IO[bytes], BoundedFile(archive, MAX_READ_BYTES, _too_large))) as packed:
        for member in packed.infolist():
            writer.count()
            if member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise refused("unsafe_member", "is a link or a device", _shown(member.filename))
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise refused("unsafe_member", "is encrypted or packed in an unusual way", _shown(member.filename))
            with packed.open(member) as source:
                writer.write(member.filename, member.file_size, source)


def _unpack_tar(plain: BinaryIO, writer: _Writer) -> None:
    with tarfile.TarFile(fileobj=cast(IO[bytes], _Forward(plain, writer.left_bytes)), mode="r") as packed:
        for member in packed:
            writer.count()
            if member.isdir():
                continue
            source = packed.extractfile(member) if member.isreg() and not member.issparse() else None
            if source is None:
                raise refused("unsafe_member", "is a link, a device or a sparse file", _shown(member.name))
            writer.write(member.name, member.size, source)


class _Forward:
    """A packed stream as tarfile reads a plain file: forwards only, in bounded pieces and in bounded all."""

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self.stream = stream
        self.place = 0
        # Headers and padding come on top of the files.
        self.max_bytes = max_bytes + MAX_FILES * 4096

    def read(self, size: int) -> bytes:
        _refuse_large_read(size)
        pieces, left = [], size
        while left > 0 and (piece := self.stream.read(left)):
            pieces.append(piece)
            left -= len(piece)
        self.place += size - left
        if self.place > self.max_bytes:
            raise refused("too_large_expanded", "the archive unpacks to more than is allowed")
        return b"".join(pieces)

    def seek(self, place: int) -> int:
        if place < self.place:
            raise tarfile.ReadError("the archive points backwards")
        while self.place < place and self.read(min(COPY_BYTES, place - self.place)):
            pass
        return self.place

    def tell(self) -> int:
        return self.place


def _refuse_large_read(size: int) -> None:
    if size > MAX_READ_BYTES:
        raise _too_large()


def _too_large() -> Exception:
    return refused("broken_archive", "a header in the archive is too large")


@contextmanager
def _in_words() -> Iterator[None]:
    broken = (zipfile.BadZipFile, tarfile.TarError, zlib.error, zstandard.ZstdError, EOFError, gzip.BadGzipFile)
    try:
        yield
    except (*broken, NotImplementedError, RuntimeError, ValueError, FileExistsError, NotADirectoryError) as error:
        raise refused("broken_archive", f"the archive cannot be read: {_shown(str(error))}") from error


def _strip_single_folder(target: Path) -> None:
    inside = list(target.iterdir())
    if len(inside) != 1 or not inside[0].is_dir():
        return
    # Renamed first: the folder may hold a member of its own name, or of any name that could be guessed.
    folder = inside[0].rename(target / f".{secrets.token_hex(16)}")
    for path in folder.iterdir():
        path.rename(target / path.name)
    folder.rmdir()
