"""Who asks: a key's owner, or the local user where no key exists and only this machine can reach us."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core import api_keys
from core.addresses import is_loopback
from core.api_keys import ALL_SCOPES
from core.database import Database
from service.errors import Forbidden, Unauthorized, WrongHost

LOCAL_OWNER = "local"
READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Caller:
    owner: str
    scopes: frozenset[str]

    def require(self, scope: api_keys.Scope, because: str = "") -> None:
        """Raise Forbidden unless the key has the scope; an admin's has all."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden(f"this key lacks the scope '{scope}'{because}")


LOCAL = Caller(LOCAL_OWNER, frozenset(ALL_SCOPES))


class Authentication:
    """In front of every route below /v1, before any of the body is read."""

    def __init__(self, app: ASGIApp, database: Database, host: str) -> None:
        self.app, self.database = app, database
        self.is_local = is_loopback(host)
        self._has_keys = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1"):
            headers = Headers(scope=scope)
            caller = await run_in_threadpool(self._recognise, headers.get("authorization", ""))
            if caller is LOCAL:
                _refuse_other_sites(headers)
            caller.require(_scope_for(scope["method"], scope["path"]))
            scope["distill.caller"] = caller
        await self.app(scope, receive, send)

    def _recognise(self, authorization: str) -> Caller:
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        with self.database.read() as session:
            if scheme.lower() == "bearer" and secret:
                key = api_keys.recognise(session, secret)
                if key is not None:
                    return Caller(key.owner, frozenset(key.scopes))
            # Keys are revoked, never deleted: once there is one, there always is.
            self._has_keys = self._has_keys or api_keys.any_key(session)
        if not self._has_keys and self.is_local:
            return LOCAL
        raise Unauthorized("the API key is unknown, revoked or expired" if secret else "this needs an API key")


def _scope_for(method: str, path: str) -> api_keys.Scope:
    if path.startswith("/v1/api-keys"):
        return "admin"
    return "read" if method in READING else "write"


def _refuse_other_sites(headers: Headers) -> None:
    """A page of another site that a local user has open must not steer a service that asks for no key."""
    for name in ("host", "origin"):
        value = headers.get(name)
        host = urlsplit(value if name == "origin" and value else f"//{value}").hostname if value else None
        if value and not is_loopback(host or ""):
            raise WrongHost(f"{name} '{value[:200]}' is not this machine")
