import httpx
from hypothesis import given
from hypothesis import strategies as st

from distill_client.retrying import Retries, retry_after_seconds


@given(attempt=st.integers(1, 60), first=st.floats(0.01, 10), longest=st.floats(1, 100))
def test_a_delay_is_never_longer_than_the_longest(attempt: int, first: float, longest: float) -> None:
    delay = Retries(first_seconds=first, longest_seconds=longest).delay_seconds(attempt)
    assert 0 < delay <= longest


@given(seconds=st.integers(0, 10_000))
def test_a_servers_wish_is_obeyed_up_to_the_longest(seconds: int) -> None:
    response = httpx.Response(503, headers={"Retry-After": str(seconds)})
    assert Retries(longest_seconds=30).delay_seconds(1, response) == min(seconds, 30)


def test_a_date_is_counted_from_the_servers_own_clock() -> None:
    headers = {"Retry-After": "Tue, 01 Dec 2026 10:00:20 GMT", "Date": "Tue, 01 Dec 2026 10:00:05 GMT"}
    assert retry_after_seconds(httpx.Response(503, headers=headers)) == 15


def test_nonsense_is_no_wish() -> None:
    assert retry_after_seconds(httpx.Response(503, headers={"Retry-After": "soon"})) is None
    assert retry_after_seconds(httpx.Response(503, headers={"Retry-After": "soon", "Date": "today"})) is None
    assert retry_after_seconds(httpx.Response(503)) is None
