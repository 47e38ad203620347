"""Asking a teacher's server, once, whether it tells its likeliest tokens, where a job is to learn from them."""

import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import structlog
from starlette.concurrency import run_in_threadpool

from core.addresses import addresses_in, port_of, proxy_of, reach_of
from core.database import Database
from core.endpoints import EndpointSpec, NoLogprobs
from core.errors import DistillError
from core.likeliest import TOKENS_AS_IDS, places_of
from core.sealing import seal_of
from core.secrets import Secrets
from core.settings import Settings
from core.spec import JobSpec
from service.deps import Service
from service.jobs.faults import fault
from service.problems import Fault

log = structlog.get_logger()

PATIENCE_SECONDS = 5.0
MOST_SECONDS = 10.0
"""For all of it: the turn, looking up the name, and both questions."""
MOST_BYTES = 1 << 20
QUESTION = "Say: ready."


async def likeliest_unheard(service: Service, owner: str, spec: JobSpec) -> list[Fault]:
    """Return the fault of a server that answers and leaves out what `teacher.endpoint.logprobs` asks for.

    One that cannot be asked from here, or refuses, is left to the worker: it may stand in another network, and knows
    how to ask again. A few are asked at a time, and no thread waits for them.
    """
    endpoint = spec.endpoint
    if endpoint is None or endpoint.logprobs is None:
        return []
    try:
        async with asyncio.timeout(MOST_SECONDS), service.probe_turns:
            secret = await run_in_threadpool(_revealed, service.database, owner, endpoint, service.settings)
            answer = await _asked(endpoint, secret, service.settings)
            is_told = await run_in_threadpool(_tells_likeliest, answer)
    except (DistillError, httpx.HTTPError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        log.info("a teacher's server was not heard", reason=type(error).__name__)
        return []
    if is_told:
        return []
    refusal = NoLogprobs(endpoint.base_url, "its answer has none, or has them without the ids of the tokens")
    return [fault(["teacher", "endpoint", "logprobs"], refusal.code, str(refusal), refusal.hint)]


def _revealed(database: Database, owner: str, endpoint: EndpointSpec, settings: Settings) -> str | None:
    if endpoint.secret is None:
        return None
    with database.read() as session:
        return Secrets(session, owner).reveal(seal_of(settings), endpoint.secret)


def _tells_likeliest(answer: bytes) -> bool:
    """Whether a completion has its likeliest tokens; one that says nothing proves nothing. Raises what parsing does."""
    told: Mapping[str, Any] = json.loads(answer)["choices"][0]
    says_something = bool(told["message"]["content"])
    return not says_something or bool(places_of(told))


async def _asked(endpoint: EndpointSpec, secret: str | None, settings: Settings) -> bytes:
    """Return a completion of one token. Raises what any step of it does."""
    url, reach = urlsplit(endpoint.base_url), reach_of(settings)
    if reach.why_not(endpoint.base_url) is not None or proxy_of(url) is not None:
        raise LookupError(endpoint.base_url)
    looked_up = await asyncio.get_running_loop().getaddrinfo(url.hostname, port_of(url), type=socket.SOCK_STREAM)
    address, *_ = [str(one) for one in addresses_in(looked_up) if reach.allows(endpoint.base_url, one)]
    host = f"[{address}]" if ":" in address else address
    headers = {"Host": url.netloc, "Accept-Encoding": "identity"}
    request = {
        "url": f"{url.scheme}://{host}:{port_of(url)}{url.path}/chat/completions",
        "headers": {**headers, **({"Authorization": f"Bearer {secret}"} if secret is not None else {})},
        # The server is spoken to, and its certificate judged, by its name: the address is the one that was judged.
        "extensions": {"sni_hostname": url.hostname} if url.scheme == "https" else {},
    }
    body = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": endpoint.logprobs,
    }
    verify = await run_in_threadpool(httpx.create_ssl_context) if url.scheme == "https" else False
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, verify=verify, trust_env=False) as client:
        answer = await _answer(client, {**body, TOKENS_AS_IDS: True}, request)
        # As a worker does: a refusal that does not speak of it would be the same without it.
        if httpx.codes.is_client_error(answer.status) and TOKENS_AS_IDS.encode() in answer.content:
            answer = await _answer(client, body, request)
    if not httpx.codes.is_success(answer.status):
        raise LookupError(answer.status)
    return answer.content


class _Answer(NamedTuple):
    status: int
    content: bytes


async def _answer(client: httpx.AsyncClient, body: Mapping[str, Any], request: Mapping[str, Any]) -> _Answer:
    async with client.stream("POST", json=body, **request) as response:
        # Nothing is unpacked: a few bytes can stand for gigabytes, and the limit below would come too late.
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ValueError(response.headers["Content-Encoding"])
        content = bytearray()
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > MOST_BYTES:
                raise ValueError(len(content))
        return _Answer(response.status_code, bytes(content))
