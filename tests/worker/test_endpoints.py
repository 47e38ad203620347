"""The line to a server: who is connected to was judged, and what is secret stays here."""

import asyncio
import gzip
import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from core.addresses import Reach
from core.endpoints import EndpointNotAllowed, EndpointSpec, EndpointTeacher
from core.errors import SecretUnreadable
from core.spec import JobSpec
from core.wire import Order
from tests.misbehaving import Fault, completion, misbehaving, refusing
from worker import endpoints
from worker.endpoints import HttpLine, line_of, proxy_of, retry_after_seconds
from worker.training.endpoint.line import NoReply, Reply

PUBLIC, ANY = Reach("public"), Reach("any")


def post(url: str, reach: Reach = ANY, secret: str | None = None, **more: Any) -> Reply:
    line = HttpLine(EndpointSpec.model_validate({"base_url": url, "model": "m", **more}), secret, reach)

    async def ask() -> Reply:
        try:
            return await line.post("chat/completions", {"messages": [{"role": "user", "content": "hello"}]})
        finally:
            await line.close()

    return asyncio.run(ask())


def named(url: str, name: str) -> str:
    return url.replace("127.0.0.1", name)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and the addresses that they stand for."""
    known: dict[str, list[str]] = {}

    async def look_up(host: str, port: int) -> list[Any]:
        return [ipaddress.ip_address(address) for address in known[host]]

    monkeypatch.setattr(endpoints, "_looked_up", look_up)
    return known


def test_a_server_is_spoken_to_by_its_name_at_the_address_that_was_judged(names: dict[str, list[str]]) -> None:
    names["teacher.example.com"] = ["127.0.0.1"]
    with misbehaving() as server:
        reply = post(named(server.url, "teacher.example.com"))
        host = urlsplit(server.url).netloc.replace("127.0.0.1", "teacher.example.com")
        assert reply.content["choices"][0]["message"]["content"] == "echo: hello"
        assert server.headers[0]["Host"] == host


def test_a_public_name_that_leads_inside_is_not_connected_to(names: dict[str, list[str]]) -> None:
    names["rebound.example.com"] = ["127.0.0.1"]
    with misbehaving() as server, pytest.raises(EndpointNotAllowed, match=r"its name stands for 127\.0\.0\.1"):
        post(named(server.url, "rebound.example.com"), PUBLIC)
    assert server.calls == []


def test_of_several_addresses_only_those_that_are_allowed_are_tried(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["mixed.example.com"] = ["127.0.0.1", "203.0.113.7"]
    with misbehaving() as server:
        monkeypatch.setattr(endpoints, "CONNECT_SECONDS", 0.1)
        with pytest.raises((EndpointNotAllowed, NoReply)):
            post(named(server.url, "mixed.example.com"), PUBLIC)
        assert server.calls == []


def test_the_next_address_is_tried_where_one_takes_no_connection(names: dict[str, list[str]]) -> None:
    names["two.example.com"] = ["127.0.0.2", "127.0.0.1"]
    with misbehaving() as server:
        assert post(named(server.url, "two.example.com")).status == 200


def test_a_redirect_is_not_followed() -> None:
    with misbehaving() as inner:
        away = Fault(302, b"", (("Location", f"{inner.url}/chat/completions"),))
        with misbehaving(lambda number, body: away) as outer:
            assert post(outer.url).status == 302
        assert inner.calls == []


def test_a_name_that_nobody_knows_is_no_reply() -> None:
    with pytest.raises(NoReply, match=r"nowhere\.invalid cannot be looked up") as found:
        post("http://nowhere.invalid/v1")
    assert not found.value.was_sent


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MOST_BYTES", 1000)
    endless = misbehaving(lambda number, body: Fault(body=b"x" * 5000))
    with endless as server, pytest.raises(NoReply, match="larger than 1,000 bytes") as found:
        post(server.url)
    assert found.value.was_sent


def test_a_packed_answer_is_not_unpacked() -> None:
    answer = gzip.compress(gzip.compress(json.dumps(completion("hello")).encode()))
    packed = Fault(body=answer, headers=(("Content-Encoding", "gzip, gzip"),))
    with misbehaving(lambda number, body: packed) as server:
        with pytest.raises(NoReply, match=r"packed \(gzip, gzip\)") as found:
            post(server.url)
        assert server.headers[0]["Accept-Encoding"] == "identity"
    assert found.value.was_sent


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"\xff\xfe", b"9" * 10_000, b""], ids=["deep", "bytes", "digits", "empty"]
)
def test_an_answer_that_is_no_json_is_text(body: bytes) -> None:
    with misbehaving(lambda number, asked: Fault(body=body)) as server:
        assert post(server.url).content is None


def test_the_secret_goes_out_and_never_comes_back() -> None:
    secret = "sk-live-0123456789"
    said = {"error": {"message": f"bad key {secret}", secret: [secret]}}
    with misbehaving(lambda number, body: Fault(401, json.dumps(said).encode())) as server:
        reply = post(server.url, secret=secret)
        assert server.headers[0]["Authorization"] == f"Bearer {secret}"
    assert secret not in repr(reply)
    with misbehaving() as quiet:
        post(quiet.url)
        assert "Authorization" not in quiet.headers[0]


def test_how_long_to_wait_is_read_from_seconds_and_dates() -> None:
    now = "Tue, 24 Nov 2026 12:00:00 GMT"
    cases: list[tuple[Mapping[str, str], float | None]] = [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT", "date": now}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT", "date": now}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
    ]
    assert [retry_after_seconds(headers) for headers, _ in cases] == [seconds for _, seconds in cases]
    with misbehaving(lambda number, body: refusing(429, Retry_After="3")) as server:
        assert post(server.url).retry_after_seconds == 3.0


def test_a_proxy_is_for_servers_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", "direct.example.com")
    through = [proxy_of(urlsplit(url)) for url in ("https://api.example.com/v1", "http://api.example.com")]
    assert through == ["http://proxy.example.com:3128"] * 2
    direct = (
        "https://direct.example.com",
        "http://127.0.0.1:8080/v1",
        "http://localhost",
        "http://[::1]",
        "http://10.0.0.7",
    )
    assert {proxy_of(urlsplit(url)) for url in direct} == {None}


def job_of(secret: str | None) -> JobSpec:
    endpoint = EndpointSpec.model_validate({"base_url": "http://127.0.0.1:1/v1", "model": "m", "secret": secret})
    return JobSpec.model_construct(teacher=(EndpointTeacher(endpoint=endpoint),))


def test_a_line_has_the_secret_that_the_worker_handed_on() -> None:
    order = Order(job="job_1", token="t", worker="w")
    assert line_of(JobSpec.model_validate({"teacher": "t", "student": "s", "dataset": "d"}), order, ANY) is None
    assert line_of(job_of(None), order, ANY) is not None
    with pytest.raises(SecretUnreadable, match="was not handed on"):
        line_of(job_of("vendor"), order, ANY)
    with pytest.raises(SecretUnreadable, match="it was removed"):
        line_of(job_of("vendor"), order.model_copy(update={"withheld": {"vendor": "it was removed"}}), ANY)
    handed = order.model_copy(update={"secrets": {"vendor": "sk-value"}})
    line = line_of(job_of("vendor"), handed, ANY)
    assert line is not None
    assert "sk-value" not in repr(vars(line).keys()) + repr(handed)
