"""What can go wrong for a client: the server said no, was not there, or sent other bytes than it promised."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


class ClientError(Exception):
    """The root of everything that this package raises on purpose."""


class ServerUnreachable(ClientError):
    """No answer came, after every retry."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"no answer from {self.url}: {self.reason}"


class UnusableUrl(ClientError):
    """The service's URL is not one."""

    def __str__(self) -> str:
        return f"{self.args[0]!r} is no URL of a service: write it as http://host:port"


class UnusableKey(ClientError):
    """The API key has characters that no header can carry. It is not shown: nearly all of it may be right."""

    def __str__(self) -> str:
        return "the API key has characters that no key has, such as … or a line break within: copy it whole"


class ChecksumMismatch(ClientError):
    """A download's SHA-256 is not the one that the server lists; the bytes were thrown away."""

    def __init__(self, path: str, expected_sha256: str, actual_sha256: str) -> None:
        super().__init__(path, expected_sha256, actual_sha256)
        self.path, self.expected_sha256, self.actual_sha256 = path, expected_sha256, actual_sha256

    def __str__(self) -> str:
        return f"{self.path} has SHA-256 {self.actual_sha256[:12]}…, the server lists {self.expected_sha256[:12]}…"


class FilesInTheWay(ClientError):
    """A folder holds other files under the names of a download. Nothing was written."""

    SHOWN = 3

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        super().__init__(folder, paths)
        self.folder, self.paths = folder, paths

    def __str__(self) -> str:
        more = len(self.paths) - self.SHOWN
        named = ", ".join(self.paths[: self.SHOWN]) + (f" and {more} more" if more > 0 else "")
        return f"{self.folder} has other files of the same names: {named}"


class UnsafePath(ClientError):
    """A server named a file that would land outside the chosen folder."""

    def __str__(self) -> str:
        return f"the server named a file outside the folder: {self.args[0]!r}"


class NotOurs(ClientError):
    """Something answered that does not speak this API."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url} is no distillation service: {self.reason}"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request, and where: a JSON pointer into the body, or a line of an upload."""

    pointer: str
    detail: str
    code: str = ""
    hint: str | None = None
    line: int | None = None
    column: int | str | None = None

    @property
    def place(self) -> str:
        """Where to look: `line 3, column label` or `/teacher/model`."""
        if self.line is None:
            return self.pointer or "/"
        return f"line {self.line}" + (f", column {self.column}" if self.column is not None else "")


class ApiError(ClientError):
    """The server's problem document (RFC 9457), read."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        faults: tuple[Fault, ...] = (),
        hint: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(status, code, detail, faults, hint, request_id)
        self.status, self.code, self.detail = status, code, detail
        self.faults, self.hint, self.request_id = faults, hint, request_id

    @property
    def errors(self) -> dict[str, Fault]:
        """The faults by their pointer."""
        return {fault.pointer: fault for fault in self.faults}

    def __str__(self) -> str:
        return f"{self.detail} ({self.code}, HTTP {self.status})"


def error_from(response: httpx.Response) -> ApiError:
    """Read a problem document; an answer of something else (a proxy, say) becomes an ApiError all the same."""
    problem = _json_object(response)
    listed = problem.get("errors")
    return ApiError(
        status=response.status_code,
        code=str(problem.get("code") or f"http_{response.status_code}"),
        detail=str(problem.get("detail") or problem.get("title") or _first_line(response)),
        faults=tuple(_fault(item) for item in listed if isinstance(item, dict)) if isinstance(listed, list) else (),
        hint=problem.get("hint"),
        request_id=problem.get("request_id") or response.headers.get("x-request-id"),
    )


def _fault(item: dict[str, Any]) -> Fault:
    return Fault(
        pointer=str(item.get("pointer", "")),
        detail=str(item.get("detail", "")),
        code=str(item.get("code", "")),
        hint=item.get("hint"),
        line=item.get("line"),
        column=item.get("column"),
    )


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _first_line(response: httpx.Response) -> str:
    line = response.text.strip().partition("\n")[0][:200]
    return line or response.reason_phrase or "no explanation"
