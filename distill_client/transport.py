"""Requests that survive a bad moment: retried with backoff, safe to repeat, refused in words."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx

from distill_client.errors import NotOurs, ServerUnreachable, UnusableUrl, error_from
from distill_client.retrying import Retries, is_worth_retrying

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CONNECT_SECONDS = 5.0
MakeRequest = Callable[[], httpx.Request]


class Transport:
    """One server, one key, one pool of connections."""

    def __init__(self, url: str, api_key: str | None, timeout_seconds: float, retries: Retries) -> None:
        self.url = url.rstrip("/")
        host = _host_of(self.url)
        self.retries = retries
        self.has_answered = False
        self.sleep: Callable[[float], None] = time.sleep
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        # A proxy of the environment cannot reach this machine's own loopback.
        reaches_out = host not in LOOPBACK
        timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=reaches_out)

    def patient(self, read_seconds: float) -> httpx.Timeout:
        """The usual timeouts, but for an answer that may take longer to come, or to go on."""
        usual = self.http.timeout
        return httpx.Timeout(connect=usual.connect, write=usual.write, pool=usual.pool, read=read_seconds)

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        return self.send(lambda: self.http.build_request("GET", path, params=_given(params), **options))

    def delete(self, path: str) -> httpx.Response:
        return self.send(lambda: self.http.build_request("DELETE", path))

    def post(
        self,
        path: str,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        read_seconds: float | None = None,
    ) -> httpx.Response:
        """POST with one Idempotency-Key for all attempts, so that a retry cannot create a second thing.

        `read_seconds` is for an answer that may take longer than others.
        """
        headers = {"Idempotency-Key": str(uuid4())}
        timeout = self.http.timeout if read_seconds is None else self.patient(read_seconds)
        return self.send(
            lambda: self.http.build_request(
                "POST", path, json=json, params=_given(params), headers=headers, timeout=timeout
            )
        )

    def send(self, make_request: MakeRequest) -> httpx.Response:
        """Send until an answer comes that a retry cannot better. Raises ApiError, ServerUnreachable."""
        response = self._attempt(make_request, stream=False)
        if response.status_code >= 400:
            raise error_from(response)
        return response

    @contextmanager
    def stream(self, make_request: MakeRequest) -> Iterator[httpx.Response]:
        """The same, with the body left to be read as it arrives."""
        response = self._attempt(make_request, stream=True)
        try:
            if response.status_code >= 400:
                response.read()
                raise error_from(response)
            yield response
        finally:
            response.close()

    def once(self, path: str) -> httpx.Response:
        """One attempt, whatever the status: for asking whether a server is well. Raises ServerUnreachable."""
        try:
            return self.http.get(path)
        except httpx.TransportError as error:
            raise ServerUnreachable(self.url, reason_of(error)) from error

    def _attempt(self, make_request: MakeRequest, *, stream: bool) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self.http.send(make_request(), stream=stream)
            except httpx.TransportError as error:
                if attempt >= self._attempts():
                    raise ServerUnreachable(self.url, reason_of(error)) from error
                self.sleep(self.retries.delay_seconds(attempt))
                continue
            self.has_answered = True
            if attempt >= self._attempts() or not is_worth_retrying(response):
                return response
            response.close()
            self.sleep(self.retries.delay_seconds(attempt, response))

    def _attempts(self) -> int:
        return self.retries.attempts if self.has_answered else self.retries.first_contact_attempts


def json_of(response: httpx.Response) -> Any:
    """The answer's JSON. Raises NotOurs where a page of something else came back."""
    try:
        return response.json()
    except ValueError:
        raise NotOurs(str(response.url), "its answer is not JSON") from None


def reason_of(error: Exception) -> str:
    return str(error) or type(error).__name__


def _host_of(url: str) -> str:
    """Raises UnusableUrl."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise UnusableUrl(url) from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise UnusableUrl(url)
    return parts.host


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}
