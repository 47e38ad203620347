"""A stored file as an answer: whole, by range, or not again (RFC 9110, 13 and 14); and several as one zip."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from zipstream import ZipStream  # type: ignore[import-untyped] # it ships no types

from core.blobs import Blobs, Stored
from core.errors import BlobDamaged
from service.errors import RangeNotSatisfiable, answer_to
from service.openapi import binary, problems

ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# A stored page or picture is shown without scripts, as if it came from nowhere.
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SHOWN_IN_PLACE = frozenset({"text/html", "application/json", "text/plain", "text/markdown"})


FILE: dict[int | str, dict[str, Any]] = {
    200: binary("*/*", "The file."),
    206: binary("*/*", "The range that was asked for."),
    304: {"description": "The file is as If-None-Match says."},
    **problems(404, 416),
}
ZIP: dict[int | str, dict[str, Any]] = {200: binary("application/zip", "One zip."), **problems(404)}
"""How the API's description tells of the two answers of this module."""


class AnyResponse(Response):
    media_type = "*/*"


class ZipResponse(Response):
    media_type = "application/zip"


@dataclass(frozen=True)
class Span:
    """Bytes [start, end) of a file."""

    start: int
    end: int


def file_answer(request: Request, blobs: Blobs, stored: Stored, media_type: str, filename: str) -> Response:
    """Answer a GET or HEAD of a file. Raises BlobMissing and BlobDamaged before the first byte."""
    etag = f'"{stored.sha256}"'
    headers = _file_headers(media_type, filename) | {"ETag": etag, "Accept-Ranges": "bytes"}
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    try:
        span = _wanted_span(request, stored, etag)
    except RangeNotSatisfiable as error:
        answer = answer_to(error, request.scope)
        answer.headers["content-range"] = f"bytes */{stored.bytes}"
        return answer
    start, end = (span.start, span.end) if span else (0, stored.bytes)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.bytes}"
    status = 206 if span else 200
    if request.method == "HEAD":
        if blobs.size(stored.key) != stored.bytes:
            raise BlobDamaged(stored.key)
        return Response(None, status, headers, media_type)
    return StreamingResponse(blobs.stream(stored, start, end), status, headers, media_type)


def zip_answer(request: Request, blobs: Blobs, files: Iterable[tuple[str, Stored]], filename: str) -> Response:
    """Several files as one zip, stored and not deflated, so that its length is known before its first byte."""
    archive = ZipStream(sized=True)
    for path, stored in files:
        # Asked for now, so that a missing file is a problem and not half an archive.
        if blobs.size(stored.key) != stored.bytes:
            raise BlobDamaged(stored.key)
        archive.add(_later(blobs, stored), path, size=stored.bytes)
    headers = _file_headers("application/zip", filename) | {"Content-Length": str(len(archive))}
    if request.method == "HEAD":
        return Response(None, 200, headers, "application/zip")
    return StreamingResponse(iter(archive), 200, headers, "application/zip")


def _later(blobs: Blobs, stored: Stored) -> Iterator[bytes]:
    yield from blobs.stream(stored)


def _file_headers(media_type: str, filename: str) -> dict[str, str]:
    kind = "inline" if media_type in SHOWN_IN_PLACE else "attachment"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", filename)
    disposition = f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
    return {
        "Content-Disposition": disposition,
        "Content-Security-Policy": SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _wanted_span(request: Request, stored: Stored, etag: str) -> Span | None:
    """The range asked for; None for the whole file. Raises RangeNotSatisfiable.

    A header that is malformed, asks for several ranges or belongs to another version asks for the whole file.
    """
    found = ONE_RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return None
    if request.headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    if len(first) > 18 or len(last) > 18:
        raise RangeNotSatisfiable(f"the file has {stored.bytes} bytes")
    if first == "":
        start, end = max(0, stored.bytes - int(last)), stored.bytes
    else:
        start, end = int(first), min(stored.bytes, int(last) + 1) if last else stored.bytes
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeNotSatisfiable(f"the file has {stored.bytes} bytes")
    return Span(start, end)
