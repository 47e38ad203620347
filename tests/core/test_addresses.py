"""Which servers may be called: what is written is judged, and so is what it stands for."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.addresses import Reach, is_public, reach_of
from core.endpoints import canonical_url
from core.settings import Settings

PUBLIC = Reach("public")
INSIDE = [
    "http://127.0.0.1:8080/v1",
    "http://localhost/v1",
    "http://localhost./v1",
    "http://10.1.2.3",
    "http://192.168.0.1",
    "http://172.16.9.9",
    "http://169.254.169.254/latest",
    "http://0.0.0.0",
    "http://100.64.0.1",
    "http://224.0.0.1",
    "http://[::1]:80",
    "http://[fe80::1]",
    "http://[fd00::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[2002:7f00:1::]",
    "http://[64:ff9b::7f00:1]",
    "http://2130706433",
    "http://0x7f000001",
    "http://0177.0.0.1",
    "http://127.1",
    "http://①②⑦.⓪.⓪.①",
    "http://metadata",
    "http://metadata.google.internal",
    "http://printer.local",
]


@pytest.mark.parametrize("url", INSIDE)
def test_what_is_inside_is_not_public_however_it_is_written(url: str) -> None:
    assert PUBLIC.why_not(canonical_url(url)) is not None
    assert Reach("any").why_not(canonical_url(url)) is None


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "http://8.8.8.8", "https://[2606:4700::1]/v1"])
def test_what_is_outside_is_public(url: str) -> None:
    assert PUBLIC.why_not(canonical_url(url)) is None
    assert Reach("none").why_not(canonical_url(url)) is not None


def test_a_public_name_that_stands_for_an_address_inside_is_caught_when_it_is_looked_up() -> None:
    url = canonical_url("https://rebound.example.com/v1")
    assert not PUBLIC.allows(url, ipaddress.ip_address("127.0.0.1"))
    assert PUBLIC.allows(url, ipaddress.ip_address("8.8.8.8"))
    assert Reach("any").allows(url, ipaddress.ip_address("127.0.0.1"))


@given(st.ip_addresses(v=4))
def test_an_address_packed_into_another_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    packed = [(0xFFFF << 32) | number, (0x2002 << 112) | number << 80, (0x64FF9B << 96) | number]
    assert {is_public(ipaddress.IPv6Address(one)) for one in packed} == {is_public(address)}


LISTED = Reach("listed", ("https://api.example.com/v1", "http://10.0.0.7:8000"))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        "https://API.example.com:443/v1",
        "https://api.example.com/v1/beta",
        "http://10.0.0.7:8000/v1",
    ],
)
def test_what_begins_as_a_listed_server_may_be_called_wherever_it_is(url: str) -> None:
    assert LISTED.why_not(canonical_url(url)) is None
    assert LISTED.allows(canonical_url(url), ipaddress.ip_address("10.0.0.7"))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "https://api.example.com",
        "https://api.example.com/v10",
        "https://api.example.com/v1/../admin",
        "https://api.example.com.evil.example/v1",
        "https://api.example.com:444/v1",
        "http://10.0.0.7:8001",
        "http://10.0.0.70:8000",
    ],
)
def test_what_only_looks_like_a_listed_server_may_not(url: str) -> None:
    assert LISTED.why_not(canonical_url(url)) is not None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "file:///etc/passwd",
        "example.com/v1",
        "",
        "http://",
        "http://user:key@example.com",
        "https://example.com?key=1",
        "https://example.com/#a",
    ],
)
def test_what_is_no_servers_url_is_refused_without_showing_what_it_holds(url: str) -> None:
    with pytest.raises(ValueError, match="it ") as refused:
        canonical_url(url)
    assert "key" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({}, "any"),
        ({"host": "0.0.0.0"}, "public"),
        ({"database_url": "postgresql+psycopg://elsewhere/distill"}, "public"),
        ({"host": "0.0.0.0", "endpoints": "any"}, "any"),
        ({"endpoints": "none"}, "none"),
        ({"endpoints": "https://api.example.com/v1, http://10.0.0.7:8000"}, "listed"),
    ],
)
def test_only_who_sits_at_the_machine_may_call_what_is_inside_unless_the_operator_says_so(
    given: dict[str, Any], rule: str
) -> None:
    reach = reach_of(Settings(**given))
    assert reach.rule == rule
    assert reach.prefixes == (LISTED.prefixes if rule == "listed" else ())


@pytest.mark.parametrize(
    "written", ["", "all", "api.example.com", "ftp://example.com", "http://u:p@example.com", "any,none"]
)
def test_a_rule_that_says_nothing_stops_the_start(written: str) -> None:
    with pytest.raises(ValueError, match="endpoints"):
        Settings(endpoints=written)
