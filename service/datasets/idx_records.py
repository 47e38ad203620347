"""IDX, the format of MNIST: a file of images (magic 0x00000803) beside one of their labels (0x00000801).

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "File formats".
"""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, cast
from zipfile import ZipFile, ZipInfo

from service.datasets.faults import refused
from service.datasets.pictures import MAX_PIXELS, Picture
from service.datasets.records import PARTS, Record, Records

IMAGES, LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"
NAME = re.compile(r"idx[13]")
PART = re.compile(r"^(train|t10k|test|validation|valid|val|dev)", re.IGNORECASE)


def is_idx(filename: str) -> bool:
    return NAME.search(PurePosixPath(filename).name) is not None


def idx_records(packed: ZipFile, members: list[ZipInfo], max_bytes: int) -> Records:
    """Yield (number of the image from 1, record) of every pair of files. Raises Refused."""
    number = 0
    pairs = list(_pairs(members))
    parts = [_part_of(images.filename) for images, _ in pairs]
    for (images, labels), part in zip(pairs, parts, strict=True):
        known = _labels(packed, labels, max_bytes)
        for picture, label in zip(_pictures(packed, images, len(known), max_bytes), known, strict=True):
            number += 1
            record: Record = {"image": picture, "label": label}
            yield number, record | ({"split": part} if any(parts) else {})


def _pairs(members: list[ZipInfo]) -> Iterator[tuple[ZipInfo, ZipInfo]]:
    by_name = {member.filename: member for member in members}
    for name in by_name:
        if not is_idx(name):
            raise refused("not_an_image", f"'{_shown(name)}' is neither images nor labels in IDX")
    images = [name for name in by_name if "idx3" in PurePosixPath(name).name]
    labels = {_labels_of(name) for name in images}
    unpaired = sorted(labels ^ {name for name in by_name if name not in images})
    if unpaired:
        lacking = "are not there" if unpaired[0] in labels else "have no images"
        raise refused("unpaired_idx", f"the labels '{_shown(unpaired[0])}' {lacking}")
    for name in images:
        yield by_name[name], by_name[_labels_of(name)]


def _labels_of(images: str) -> str:
    return images.replace("images", "labels").replace("idx3", "idx1")


def _part_of(filename: str) -> str | None:
    found = PART.match(PurePosixPath(filename).name)
    return None if found is None else PARTS.get(found[1].casefold(), "test")


def _labels(packed: ZipFile, member: ZipInfo, max_bytes: int) -> bytes:
    with _opened(packed, member) as source:
        count = _header(source, member, LABELS, 1)[0]
        _check_size(member, count, max_bytes)
        labels = source.read(count + 1)
    if len(labels) != count:
        raise _broken(member, f"it says {count} labels and holds {'fewer' if len(labels) < count else 'more'}")
    return labels


def _pictures(packed: ZipFile, member: ZipInfo, labels: int, max_bytes: int) -> Iterator[Picture]:
    with _opened(packed, member) as source:
        count, height, width = _header(source, member, IMAGES, 3)
        size = height * width
        if not 0 < size <= MAX_PIXELS:
            raise _broken(member, f"it says images of {width} x {height} pixels")
        _check_size(member, count * size, max_bytes)
        if count != labels:
            raise _broken(member, f"it says {count} images, and there are {labels} labels")
        # A portable greymap is the same bytes after a line that says their size.
        head = b"P5\n%d %d\n255\n" % (width, height)
        for place in range(count):
            pixels = source.read(size)
            if len(pixels) < size:
                raise _broken(member, f"it says {count} images and ends within image {place + 1}")
            yield Picture(head + pixels, width, height, 1)
        if source.read(1):
            raise _broken(member, f"it says {count} images and goes on after them")


@contextmanager
def _opened(packed: ZipFile, member: ZipInfo) -> Iterator[IO[bytes]]:
    with packed.open(member) as source:
        yield cast(IO[bytes], gzip.GzipFile(fileobj=source)) if member.filename.endswith(".gz") else source


def _header(source: IO[bytes], member: ZipInfo, magic: bytes, numbers: int) -> list[int]:
    head = source.read(4 + 4 * numbers)
    if head[:4] != magic or len(head) < 4 + 4 * numbers:
        raise _broken(member, f"it does not begin with 0x{magic.hex()}")
    return [int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4)]


def _check_size(member: ZipInfo, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise refused("too_large_expanded", f"'{_shown(member.filename)}' says {size} bytes, {max_bytes} are allowed")


def _broken(member: ZipInfo, why: str) -> Exception:
    return refused("broken_idx", f"'{_shown(member.filename)}': {why}")


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:200]
