"""A load for service.py: a few kept connections that each ask again as soon as they are answered.

It speaks just enough HTTP/1.1 that asking costs a fraction of answering.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Round:
    seconds: float
    latencies_ms: Sequence[float]
    """Of each request, sorted, from its first byte's leaving to its answer's last byte."""
    answer_bytes: int
    """Of the last answer."""

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    @property
    def p99_ms(self) -> float:
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(0.99 * len(self.latencies_ms)))]


def request_of(url: str, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    told = {"Host": urlsplit(url).netloc, "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def round_of(url: str, request: bytes, count: int, connections: int) -> Round:
    """Send a request `count` times. Raises AssertionError for an answer that is no success."""
    return asyncio.run(_round(url, request, count, connections))


async def _round(url: str, request: bytes, count: int, connections: int) -> Round:
    address = urlsplit(url)
    assert address.hostname is not None
    opened = [await asyncio.open_connection(address.hostname, address.port) for _ in range(connections)]
    turns, latencies_ms, began = iter(range(count)), list[float](), time.perf_counter()
    sizes = await asyncio.gather(*(_asked(*one, request, turns, latencies_ms) for one in opened))
    seconds = time.perf_counter() - began
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()
    return Round(seconds, sorted(latencies_ms), max(sizes))


async def _asked(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: bytes,
    turns: Iterator[int],
    latencies_ms: list[float],
) -> int:
    size = 0
    for _ in turns:
        began = time.perf_counter()
        writer.write(request)
        size = await _answered(reader)
        latencies_ms.append(1000 * (time.perf_counter() - began))
    return size


async def _answered(reader: asyncio.StreamReader) -> int:
    """Read one answer; return the bytes of its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    assert status.split()[1].startswith("2"), head
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") != "chunked":
        return len(await reader.readexactly(int(headers["content-length"])))
    total = 0
    while (length := int(await reader.readline(), 16)) > 0:
        total += length
        await reader.readexactly(length + 2)
    await reader.readexactly(2)
    return total
