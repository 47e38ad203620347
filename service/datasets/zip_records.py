"""A zip of images in folders, or of IDX files: read in place, nothing of it is unpacked to disk."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast
from zipfile import ZipFile, ZipInfo

from service.bounded_file import BoundedFile
from service.datasets.faults import fault, refused
from service.datasets.idx_records import idx_records, is_idx
from service.datasets.pictures import NotAPicture, Pictures
from service.datasets.records import PARTS, Findings, Record, Records

MAGIC = b"PK\x03\x04"
MAX_MEMBERS = 200_000
MAX_DIRECTORY_BYTES = 16 << 20
LEFT_BY_SYSTEMS = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})


def zip_records(path: Path, max_bytes: int, findings: Findings, pictures: Pictures) -> Records:
    """Yield (number of the image from 1, record). Raises Refused."""
    with _in_words(), path.open("rb") as file:
        bounded = BoundedFile(
            file, MAX_DIRECTORY_BYTES, lambda: refused("broken_archive", "its directory is too large")
        )
        with ZipFile(cast(IO[bytes], bounded)) as packed:
            members = _members(packed, max_bytes)
            if any(is_idx(member.filename) for member in members):
                yield from idx_records(packed, members, max_bytes)
            else:
                yield from _images(packed, members, findings, pictures)


def _members(packed: ZipFile, max_bytes: int) -> list[ZipInfo]:
    """The files that somebody meant. Raises Refused for what is too much or cannot be read."""
    if len(packed.infolist()) > MAX_MEMBERS:
        raise refused("too_many_members", f"there are {len(packed.infolist())} files")
    members = []
    for member in packed.infolist():
        parts = PurePosixPath(member.filename).parts
        if member.is_dir() or LEFT_BY_SYSTEMS & set(parts) or (parts and parts[-1].startswith("._")):
            continue
        name = shown(member.filename)
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise refused("broken_archive", f"'{name}' is a link or a device")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refused("broken_archive", f"'{name}' is encrypted or packed in an unusual way")
        max_bytes -= member.file_size
        if max_bytes < 0:
            raise refused("too_large_expanded", "the archive unpacks to more than is allowed")
        members.append(member)
    return members


def _images(packed: ZipFile, members: list[ZipInfo], findings: Findings, pictures: Pictures) -> Records:
    """Yield each image with its file's name, its folder as its label, and its part where a folder names one."""
    parts = {member.filename: part_of(member.filename) for member in members}
    has_parts = any(parts.values())
    for number, member in enumerate(members, 1):
        try:
            record: Record = {"image": pictures.take(_content(packed, member, pictures.max_bytes))}
        except NotAPicture as wrong:
            findings.tell(fault(wrong.code, f"'{shown(member.filename)}': {wrong.detail}"))
            continue
        record |= {"label": label_of(member.filename), "file": member.filename}
        yield number, record | ({"split": parts[member.filename]} if has_parts else {})


def _content(packed: ZipFile, member: ZipInfo, max_bytes: int) -> bytes:
    if member.file_size > max_bytes:
        raise NotAPicture("image_too_large", f"the file has {member.file_size} bytes, {max_bytes} are allowed")
    with packed.open(member) as source:
        # One more than it says: a member that lies about its size is found out by the library's own check.
        return source.read(member.file_size + 1)


def label_of(filename: str) -> str | None:
    """The folder that a file lies in, unless that names a part of the data set."""
    folder = PurePosixPath(filename).parent.name
    return folder if folder and folder.casefold() not in PARTS else None


def part_of(filename: str) -> str | None:
    """The first folder on the way that names a part of the data set."""
    folders = (folder.casefold() for folder in PurePosixPath(filename).parent.parts)
    return next((PARTS[folder] for folder in folders if folder in PARTS), None)


def shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:200]


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        raise refused("broken_archive", f"the zip cannot be read: {shown(str(error))}") from error
