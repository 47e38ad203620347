"""A file that nobody trusts, as a parser of it may read it."""

import io
from collections.abc import Callable
from typing import BinaryIO


class BoundedFile:
    """A seekable file that refuses to be read in one piece as large as a lying header may ask for."""

    def __init__(self, file: BinaryIO, max_read_bytes: int, refusal: Callable[[], Exception]) -> None:
        self.file, self.max_read_bytes, self.refusal = file, max_read_bytes, refusal

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            place = self.file.tell()
            size = self.file.seek(0, io.SEEK_END) - place
            self.file.seek(place)
        if size > self.max_read_bytes:
            raise self.refusal()
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True
