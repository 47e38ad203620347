import json

import pytest

from distill_client import ApiError, Client, NotOurs, Retries, ServerUnreachable, UnusableKey, UnusableUrl
from tests.distill_client.scripted import Answer, Scripted
from tests.servers import free_port

JOB = json.dumps({"id": "job_1", "status": "queued"}).encode()
PROBLEM = {
    "title": "Invalid",
    "status": 422,
    "detail": "the spec is wrong",
    "code": "invalid_spec",
    "request_id": "req_1",
    "errors": [{"pointer": "/teacher/model", "detail": "no model 'x'", "code": "model_not_found", "hint": "list them"}],
}


def test_a_post_is_repeated_under_one_idempotency_key(client: Client, scripted: Scripted) -> None:
    scripted.play(Answer(503), Answer(502), Answer(202, JOB))
    assert client.jobs.submit({"teacher": "a"}).id == "job_1"
    keys = {asked.headers["idempotency-key"] for asked in scripted.asked}
    assert len(scripted.asked) == 3
    assert len(keys) == 1
    assert len({asked.body for asked in scripted.asked}) == 1


def test_two_posts_have_two_keys(client: Client, scripted: Scripted) -> None:
    scripted.play(Answer(202, JOB))
    client.jobs.submit({})
    client.jobs.submit({})
    assert len({asked.headers["idempotency-key"] for asked in scripted.asked}) == 2


def test_retry_after_is_obeyed(client: Client, scripted: Scripted, slept: list[float]) -> None:
    scripted.play(Answer(429, headers={"Retry-After": "7"}), Answer(200, JOB))
    client.jobs.get("job_1")
    assert slept == [7.0]


def test_a_409_that_says_retry_after_is_a_post_in_flight(client: Client, scripted: Scripted) -> None:
    scripted.play(Answer(409, headers={"Retry-After": "1"}), Answer(202, JOB))
    assert client.jobs.submit({}).id == "job_1"


@pytest.mark.parametrize("status", [409, 503])
def test_x_should_retry_false_ends_it(client: Client, scripted: Scripted, status: int) -> None:
    scripted.play(Answer(status, headers={"x-should-retry": "false", "Retry-After": "1"}))
    with pytest.raises(ApiError):
        client.jobs.submit({})
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_what_a_retry_cannot_mend_is_asked_once(client: Client, scripted: Scripted, status: int) -> None:
    scripted.play(Answer(status))
    with pytest.raises(ApiError) as raised:
        client.jobs.get("job_1")
    assert raised.value.status == status
    assert len(scripted.asked) == 1


def test_retries_end(scripted: Scripted) -> None:
    scripted.play(Answer(503))
    with Client(scripted.url, retries=Retries(attempts=4)) as client:
        client.transport.sleep = lambda _: None
        with pytest.raises(ApiError):
            client.jobs.get("job_1")
    assert len(scripted.asked) == 4


def test_a_problem_is_read_whole(client: Client, scripted: Scripted) -> None:
    scripted.play(Answer(422, json.dumps(PROBLEM).encode()))
    with pytest.raises(ApiError) as raised:
        client.jobs.submit({})
    error = raised.value
    assert (error.status, error.code, error.detail, error.request_id) == (
        422,
        "invalid_spec",
        "the spec is wrong",
        "req_1",
    )
    assert error.errors["/teacher/model"].code == "model_not_found"
    assert error.errors["/teacher/model"].hint == "list them"


def test_an_error_page_of_a_proxy_is_an_error_too(client: Client, scripted: Scripted) -> None:
    scripted.play(Answer(403, b"<h1>Forbidden by proxy</h1>", {"x-request-id": "abc"}))
    with pytest.raises(ApiError) as raised:
        client.jobs.get("job_1")
    assert raised.value.code == "http_403"
    assert "Forbidden by proxy" in raised.value.detail
    assert raised.value.request_id == "abc"


def test_a_page_that_is_no_json_is_not_ours(client: Client, scripted: Scripted) -> None:
    scripted.play(Answer(200, b"<html>hello</html>"))
    with pytest.raises(NotOurs):
        client.jobs.get("job_1")


def test_nobody_there_is_said_after_few_attempts() -> None:
    slept: list[float] = []
    with Client(f"http://127.0.0.1:{free_port()}", retries=Retries(attempts=9, first_contact_attempts=2)) as client:
        client.transport.sleep = slept.append
        with pytest.raises(ServerUnreachable):
            client.jobs.get("job_1")
    assert len(slept) == 1


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://host", "http://", "file:///etc/passwd", "http://[::1", "http://a:b"]
)
def test_what_is_no_url_is_said_at_once(url: str) -> None:
    with pytest.raises(UnusableUrl):
        Client(url)


def test_the_key_travels_as_a_bearer_token(scripted: Scripted) -> None:
    scripted.play(Answer(200, JOB))
    with Client(scripted.url, "dk_secret") as client:
        client.jobs.get("job_1")
    assert scripted.asked[0].headers["authorization"] == "Bearer dk_secret"


@pytest.mark.parametrize("key", ["dk_secret\n", " dk_secret\r\n"])
def test_white_space_around_a_key_does_not_count(scripted: Scripted, key: str) -> None:
    scripted.play(Answer(200, JOB))
    with Client(scripted.url, key) as client:
        client.jobs.get("job_1")
    assert scripted.asked[0].headers["authorization"] == "Bearer dk_secret"


@pytest.mark.parametrize("key", ["dk_secret…", "dk_sec\nret", "dk_secrét"])
def test_a_key_that_no_header_carries_is_said_without_it(key: str) -> None:
    with pytest.raises(UnusableKey) as raised:
        Client(api_key=key)
    assert "dk_sec" not in f"{raised.value} {raised.value!r}"


def test_url_and_key_come_from_the_environment(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.play(Answer(200, JOB))
    monkeypatch.setenv("DISTILL_URL", scripted.url + "/")
    monkeypatch.setenv("DISTILL_API_KEY", "dk_env")
    with Client() as client:
        client.jobs.get("job_1")
    assert scripted.asked[0].path == "/v1/jobs/job_1"
    assert scripted.asked[0].headers["authorization"] == "Bearer dk_env"


def test_a_proxy_of_the_environment_is_no_way_to_loopback(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    scripted.play(Answer(200, JOB))
    with Client(scripted.url) as client:
        assert client.jobs.get("job_1").id == "job_1"
