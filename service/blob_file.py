"""A blob that can be read anywhere, for readers that want a file."""

import io

from core.blobs import Blobs


class BlobFile(io.RawIOBase):
    def __init__(self, blobs: Blobs, key: str, size: int) -> None:
        self.blobs, self.key, self.size = blobs, key, size
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        self.place = start + offset
        return self.place

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type] # typeshed has no name for a writable buffer here
        piece = self.blobs.read(self.key, self.place, min(self.size, self.place + len(view)))
        view[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)
