"""Which servers of others this installation may call: the operator's word, and what an address is.

A URL is judged twice. The service judges what is written; whoever connects (the worker, and the service where it asks
for logprobs) judges the address that the name stands for then, and connects to that one: a name may come to mean
another.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from core.endpoints import canonical_url
from core.settings import Settings

LOCAL_NAMES = ("localhost", "local", "internal", "lan", "intranet", "home.arpa")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Reach:
    """How far calls may go: `any` server, `public` addresses alone, `none`, or what begins as one of the `prefixes`."""

    rule: str
    prefixes: tuple[str, ...] = ()

    def why_not(self, url: str) -> str | None:
        """Return why a canonical URL may not be called, as far as it shows, or None."""
        if self.rule == "any":
            return None
        if self.rule == "none":
            return "the operator lets no server of others be called"
        if self.prefixes:
            return None if self._is_listed(url) else "it is not among the servers that the operator allows"
        host = (urlsplit(url).hostname or "").rstrip(".")
        address = address_of(host)
        if address is None:
            return "its host is a name of a local network" if _is_local_name(host) else None
        return None if is_public(address) else f"{host} is no public address"

    def allows(self, url: str, address: Address) -> bool:
        """Tell whether the address that a URL's host stands for may be connected to."""
        return self.why_not(url) is None and (self.rule != "public" or is_public(address))

    def _is_listed(self, url: str) -> bool:
        asked = urlsplit(url)
        return any(_begins_as(asked, urlsplit(prefix)) for prefix in self.prefixes)


def reach_of(settings: Settings) -> Reach:
    """Return the operator's rule. Without one, a service that only its own machine reaches may call any server, since
    whoever uses it could do so anyway; every other may call public addresses."""
    if settings.endpoints is None:
        return Reach("any" if settings.database_url is None and is_loopback(settings.host) else "public")
    if settings.endpoints in ("any", "public", "none"):
        return Reach(settings.endpoints)
    return Reach("listed", tuple(canonical_url(prefix.strip()) for prefix in settings.endpoints.split(",")))


def address_of(host: str) -> Address | None:
    """Return the address that a host is, or None where it is a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def addresses_in(found: Iterable[tuple[Any, ...]]) -> list[Address]:
    """Return the addresses that a look-up (`getaddrinfo`) found, each once."""
    # A link-local address of IPv6 comes with its interface behind a percent sign.
    addresses = [address_of(str(target[0]).partition("%")[0]) for *_, target in found]
    return list(dict.fromkeys(address for address in addresses if address is not None))


def port_of(url: SplitResult) -> int:
    return url.port or PORTS[url.scheme]


def proxy_of(url: SplitResult) -> str | None:
    """Return the proxy that the environment names for a server; none reaches this machine and its networks."""
    host = url.hostname or ""
    address = address_of(host)
    if is_loopback(host) or (address is not None and not is_public(address)) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def is_public(address: Address) -> bool:
    """Tell whether the address, or the one that is packed into it, is of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        packed = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if packed is None and address in NAT64:
            packed = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if packed is not None:
            return is_public(packed)
    return address.is_global and not address.is_multicast


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches the address or host name."""
    host = host.strip("[]").lower()
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_local_name(host: str) -> bool:
    return "." not in host or any(host == name or host.endswith(f".{name}") for name in LOCAL_NAMES)


def _begins_as(asked: SplitResult, allowed: SplitResult) -> bool:
    """Compare part by part: as text, `https://api.example.evil` would begin as `https://api.example`."""
    inside = f"{asked.path}/".startswith(f"{allowed.path.rstrip('/')}/")
    return inside and _server(asked) == _server(allowed) and not {".", ".."} & set(asked.path.split("/"))


def _server(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, port_of(parts)
