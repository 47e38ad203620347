"""Asking a teacher's server, once, whether it tells its likeliest tokens, where a job is to learn from them."""

import json
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import structlog

from core.addresses import addresses_in, port_of, proxy_of, reach_of
from core.database import Database
from core.endpoints import EndpointSpec, NoLogprobs
from core.errors import DistillError
from core.likeliest import TOKENS_AS_IDS, places_of
from core.sealing import seal_of
from core.secrets import Secrets
from core.settings import Settings
from core.spec import JobSpec
from service.jobs.faults import fault
from service.problems import Fault

log = structlog.get_logger()

PATIENCE_SECONDS = 5.0
MOST_BYTES = 1 << 20
QUESTION = "Say: ready."


def likeliest_unheard(database: Database, owner: str, spec: JobSpec, settings: Settings) -> list[Fault]:
    """Return the fault of a server that answers and leaves out what `teacher.endpoint.logprobs` asks for.

    One that cannot be asked from here, or refuses, is left to the worker: it may stand in another network, and knows
    how to ask again.
    """
    endpoint = spec.endpoint
    if endpoint is None or endpoint.logprobs is None:
        return []
    try:
        secret = _revealed(database, owner, endpoint, settings)
        told = _first_choice(endpoint, secret, settings)
        says_something = bool(told["message"]["content"])
    except (DistillError, httpx.HTTPError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        log.info("a teacher's server was not heard", reason=type(error).__name__)
        return []
    if not says_something or places_of(told):
        return []
    refusal = NoLogprobs(endpoint.base_url, "its answer has none, or has them without the ids of the tokens")
    return [fault(["teacher", "endpoint", "logprobs"], refusal.code, str(refusal), refusal.hint)]


def _revealed(database: Database, owner: str, endpoint: EndpointSpec, settings: Settings) -> str | None:
    if endpoint.secret is None:
        return None
    with database.read() as session:
        return Secrets(session, owner).reveal(seal_of(settings), endpoint.secret)


def _first_choice(endpoint: EndpointSpec, secret: str | None, settings: Settings) -> Mapping[str, Any]:
    """Return the choice of a completion of one token. Raises what any step of it does."""
    url, reach = urlsplit(endpoint.base_url), reach_of(settings)
    if reach.why_not(endpoint.base_url) is not None or proxy_of(url) is not None:
        raise LookupError(endpoint.base_url)
    found = addresses_in(socket.getaddrinfo(url.hostname, port_of(url), type=socket.SOCK_STREAM))
    address, *_ = [str(one) for one in found if reach.allows(endpoint.base_url, one)]
    host = f"[{address}]" if ":" in address else address
    request = {
        "url": f"{url.scheme}://{host}:{port_of(url)}{url.path}/chat/completions",
        "headers": {"Host": url.netloc, **({"Authorization": f"Bearer {secret}"} if secret is not None else {})},
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
    with httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False) as client:
        answer = _answer(client, {**body, TOKENS_AS_IDS: True}, request)
        # As a worker does: a refusal that does not speak of it would be the same without it.
        if httpx.codes.is_client_error(answer.status) and TOKENS_AS_IDS.encode() in answer.content:
            answer = _answer(client, body, request)
    if not httpx.codes.is_success(answer.status):
        raise LookupError(answer.status)
    choice: Mapping[str, Any] = json.loads(answer.content)["choices"][0]
    return choice


class _Answer(NamedTuple):
    status: int
    content: bytes


def _answer(client: httpx.Client, body: Mapping[str, Any], request: Mapping[str, Any]) -> _Answer:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with client.stream("POST", json=body, **request) as response:
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > MOST_BYTES or time.monotonic() > deadline:
                raise ValueError(len(content))
        return _Answer(response.status_code, bytes(content))
