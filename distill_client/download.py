"""Downloads that go on where they were cut, and that are either whole and right or not there."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx

from distill_client.errors import ApiError, ChecksumMismatch, FilesInTheWay, ServerUnreachable, UnsafePath
from distill_client.transport import Transport, reason_of
from distill_client.upload import OnProgress


class Download:
    """One file. Its bytes grow in `<name>.part`, which a later call continues; the name appears when they are right."""

    def __init__(
        self,
        transport: Transport,
        href: str,
        target: Path,
        sha256: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.transport, self.href, self.target = transport, href, target
        self.sha256, self.on_progress = sha256, on_progress
        self.part = target.with_name(target.name + ".part")

    def run(self) -> Path:
        """Fetch the file. Raises ApiError, ServerUnreachable, ChecksumMismatch; FilesInTheWay where it is a folder."""
        if self.target.is_dir():
            raise FilesInTheWay(self.target.parent, [f"{self.target.name}/"])
        if self.sha256 is not None and self.target.is_file() and sha256_of(self.target) == self.sha256:
            return self.target
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._fetch_until_whole()
        if self.sha256 is not None:
            actual = sha256_of(self.part)
            if actual != self.sha256:
                self.part.unlink()
                raise ChecksumMismatch(self.target.name, self.sha256, actual)
        self.part.replace(self.target)
        return self.target

    def _fetch_until_whole(self) -> None:
        """A cut costs an attempt only when it came before any new byte."""
        attempt = 0
        while True:
            before = self._kept_bytes()
            try:
                return self._fetch(before)
            except httpx.TransportError as error:
                attempt = 1 if self._kept_bytes() > before else attempt + 1
                if attempt >= self.transport.retries.attempts:
                    raise ServerUnreachable(self.transport.url, reason_of(error)) from error
                self.transport.sleep(self.transport.retries.delay_seconds(attempt))

    def _kept_bytes(self) -> int:
        """How much of an earlier attempt can be continued: without a hash to check the whole by, nothing."""
        return self.part.stat().st_size if self.sha256 is not None and self.part.is_file() else 0

    def _fetch(self, offset: int) -> None:
        try:
            with self.transport.stream(lambda: self._request(offset)) as response:
                self._write(response, offset if response.status_code == httpx.codes.PARTIAL_CONTENT else 0)
        except ApiError as error:
            # The part is as long as the file, or longer: the hash tells which.
            if error.status != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE or offset == 0:
                raise
            if sha256_of(self.part) != self.sha256:
                self.part.unlink()
                self._fetch(0)

    def _request(self, offset: int) -> httpx.Request:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": f'"{self.sha256}"'}
        return self.transport.http.build_request("GET", self.href, headers=headers)

    def _write(self, response: httpx.Response, offset: int) -> None:
        length = response.headers.get("content-length")
        total = offset + int(length) if length is not None else None
        done = offset
        with self.part.open("ab" if offset else "wb") as file:
            # Pieces as they arrive: a chunk that waits to be full is lost when the connection breaks.
            for piece in response.iter_raw():
                file.write(piece)
                done += len(piece)
                if self.on_progress is not None:
                    self.on_progress(done, total)


@dataclass(frozen=True)
class RemoteFile:
    """A file that the server lists, and where it goes below the folder that it is fetched into."""

    href: str
    path: str
    bytes: int
    sha256: str


def fetch_all(
    transport: Transport,
    wanted: Sequence[RemoteFile],
    folder: Path,
    on_progress: OnProgress | None = None,
    *,
    replace: bool = False,
) -> list[Path]:
    """Fetch files into a folder; progress is that of all together.

    Args:
        replace: also what lies there under the same names with other content.

    Raises what Download.run does, UnsafePath, and FilesInTheWay before anything is written.
    """
    kept = _kept(wanted, folder, replace=replace)
    total_bytes, done_bytes, files = sum(file.bytes for file in wanted), 0, []
    for file in wanted:
        counted = _shifted(on_progress, done_bytes, total_bytes)
        target = below(folder, file.path)
        if file.path not in kept:
            Download(transport, file.href, target, file.sha256, counted).run()
        files.append(target)
        done_bytes += file.bytes
        if on_progress is not None:
            on_progress(done_bytes, total_bytes)
    return files


def _kept(wanted: Sequence[RemoteFile], folder: Path, *, replace: bool) -> set[str]:
    """Which of the files lie in the folder as they are, byte for byte. Raises FilesInTheWay for others."""
    kept: set[str] = set()
    others: list[str] = []
    for file in wanted:
        target = below(folder, file.path)
        if target.is_file() and target.stat().st_size == file.bytes and sha256_of(target) == file.sha256:
            kept.add(file.path)
        elif target.exists() or target.is_symlink():
            others.append(file.path)
    if others and not replace:
        raise FilesInTheWay(folder, others)
    return kept


def _shifted(on_progress: OnProgress | None, before_bytes: int, total_bytes: int) -> OnProgress | None:
    """One file's progress as that of all files."""
    if on_progress is None:
        return None
    return lambda done_bytes, _: on_progress(before_bytes + done_bytes, total_bytes)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def below(folder: Path, path: str) -> Path:
    """Where a file that the server calls `path` lies below `folder`. Raises UnsafePath for one that would not."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or not parts.parts or ".." in parts.parts or "\\" in path or ":" in path:
        raise UnsafePath(path)
    return folder.joinpath(*parts.parts)


def remote_sha256(response: httpx.Response) -> str:
    """The SHA-256 of an answer's body, read as it arrives."""
    digest = hashlib.sha256()
    for piece in response.iter_raw():
        digest.update(piece)
    return digest.hexdigest()
