"""HTTP to servers of others: every address is judged when it is connected to, and no secret comes back in an answer."""

import asyncio
import json
import socket
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from core.addresses import Address, Reach, address_of, addresses_in, port_of, proxy_of
from core.endpoints import EndpointNotAllowed, EndpointSpec
from core.errors import SecretUnreadable
from core.spec import JobSpec
from core.wire import Order
from worker.training.endpoint.line import NoReply, Reply

CONNECT_SECONDS = 10.0
LOOKED_UP_SECONDS = 60.0
MOST_BYTES = 64 << 20
BEGINNING = 500
SHORTEST_HIDDEN = 8
"""Characters of a secret: a shorter one may well be an ordinary word of a text."""
HIDDEN = "(secret)"


class HttpLine:
    """A line to one server. Names are looked up here, and the address that was judged is the one that is connected to;
    redirects are not followed. Where the environment names a proxy for the server, the proxy looks up the name."""

    def __init__(self, endpoint: EndpointSpec, secret: str | None, reach: Reach) -> None:
        self.name, self.url = endpoint.base_url, urlsplit(endpoint.base_url)
        self.reach, self.timeout_seconds = reach, endpoint.timeout_seconds
        self.proxy = proxy_of(self.url)
        self._secret, self._concurrency = secret, endpoint.concurrency
        self._client: httpx.AsyncClient | None = None
        self._addresses: list[Address] = []
        self._looked_up_at = 0.0

    async def get(self, path: str) -> Reply:
        return await self._send("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        return await self._send("POST", path, body)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        self._client = None

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._to_any_address(method, path, body)
        except TimeoutError:
            raise NoReply(f"no whole answer within {self.timeout_seconds:g} seconds", was_sent=True) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise NoReply(f"no connection: {_reason(error)}", was_sent=False) from None
        except httpx.HTTPError as error:
            raise NoReply(f"the connection broke: {_reason(error)}", was_sent=True) from None

    async def _to_any_address(self, method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
        """Ask at the first address that takes a connection."""
        hosts = [self.url.hostname or ""] if self.proxy else [str(one) for one in await self._allowed_addresses()]
        for host in hosts[:-1]:
            try:
                return await self._ask(method, path, body, host)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._ask(method, path, body, hosts[-1])

    async def _allowed_addresses(self) -> Sequence[Address]:
        """Look the server's name up, at most once a minute. Raises EndpointNotAllowed, NoReply."""
        if self._addresses and time.monotonic() - self._looked_up_at < LOOKED_UP_SECONDS:
            return self._addresses
        why = self.reach.why_not(self.name)
        if why is not None:
            raise EndpointNotAllowed(self.name, why)
        found = await _looked_up(self.url.hostname or "", port_of(self.url))
        allowed = [address for address in found if self.reach.allows(self.name, address)]
        if not allowed:
            raise EndpointNotAllowed(self.name, f"its name stands for {found[0]}, which is no public address")
        self._addresses, self._looked_up_at = allowed, time.monotonic()
        return allowed

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, host: str) -> Reply:
        bracketed = f"[{host}]" if ":" in host else host
        url = f"{self.url.scheme}://{bracketed}:{port_of(self.url)}{self.url.path}/{path}"
        # The server is spoken to, and its certificate judged, by its name, whichever address we connect to.
        names = {"sni_hostname": self.url.hostname} if self.url.scheme == "https" else {}
        async with self._connected().stream(
            method, url, json=body, headers=self._headers(), extensions=names
        ) as response:
            # Nothing is unpacked: a few bytes can stand for gigabytes, and the limit below would come too late.
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding.lower() != "identity":
                raise NoReply(f"the answer is packed ({encoding[:100]}), and identity was asked for", was_sent=True)
            content = bytearray()
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > MOST_BYTES:
                    raise NoReply(f"the answer is larger than {MOST_BYTES:,} bytes", was_sent=True)
            return self._reply(response, bytes(content))

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = httpx.Limits(max_connections=self._concurrency + 1, max_keepalive_connections=self._concurrency)
            verify = httpx.create_ssl_context() if self.url.scheme == "https" else False
            timeout = httpx.Timeout(self.timeout_seconds, connect=min(CONNECT_SECONDS, self.timeout_seconds))
            self._client = httpx.AsyncClient(
                limits=limits, timeout=timeout, verify=verify, proxy=self.proxy, trust_env=False
            )
        return self._client

    def _headers(self) -> dict[str, str]:
        headers = {
            "Host": self.url.netloc,
            "User-Agent": "distillation-service",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        return headers if self._secret is None else {**headers, "Authorization": f"Bearer {self._secret}"}

    def _reply(self, response: httpx.Response, content: bytes) -> Reply:
        text = content[:BEGINNING].decode(errors="replace")
        try:
            parsed = self._hidden(json.loads(content))
        except (ValueError, RecursionError):
            parsed = None
        return Reply(response.status_code, parsed, self._hidden(text), retry_after_seconds(response.headers))

    def _hidden(self, content: Any) -> Any:
        """Take the secret out of whatever the server wrote: some repeat it when they refuse it."""
        if self._secret is None or len(self._secret) < SHORTEST_HIDDEN:
            return content
        if isinstance(content, str):
            return content.replace(self._secret, HIDDEN)
        if isinstance(content, list):
            return [self._hidden(part) for part in content]
        if isinstance(content, dict):
            return {self._hidden(key): self._hidden(part) for key, part in content.items()}
        return content


def line_of(spec: JobSpec, order: Order, reach: Reach) -> HttpLine | None:
    """Return the line to a job's teacher, or None where its teachers have weights. Raises SecretUnreadable."""
    endpoint = spec.endpoint
    if endpoint is None or endpoint.secret is None:
        return HttpLine(endpoint, None, reach) if endpoint is not None else None
    if endpoint.secret not in order.secrets:
        raise SecretUnreadable(endpoint.secret, order.withheld.get(endpoint.secret, "it was not handed on"))
    return HttpLine(endpoint, order.secrets[endpoint.secret], reach)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After: a number of seconds, or a date by the server's own clock."""
    written = headers.get("retry-after")
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if written is None:
            return None
        if written.strip().replace(".", "", 1).isdigit():
            return float(written)
        moment, present = parsedate_to_datetime(written), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (moment - present).total_seconds())
    except (ValueError, TypeError):
        return None


async def _looked_up(host: str, port: int) -> list[Address]:
    """Return every address that a host stands for, itself where it is one. Raises NoReply."""
    address = address_of(host)
    if address is not None:
        return [address]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NoReply(f"the name {host} cannot be looked up: {error.strerror or error}", was_sent=False) from None
    return addresses_in(found)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
