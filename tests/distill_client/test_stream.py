import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_client import ApiError, Client, ServerUnreachable
from distill_client.stream import frames
from tests.distill_client.scripted import Answer, Scripted


def event(number: int, type_: str = "log", **data: object) -> bytes:
    return f"id: {number}\nevent: {type_}\ndata: {json.dumps(data)}\n\n".encode()


OVER = Answer(204, b"")


def stream(*parts: bytes) -> Answer:
    return Answer(200, b"".join(parts), {"Content-Type": "text/event-stream"})


def test_a_stream_that_breaks_is_picked_up_behind_its_last_event(client: Client, scripted: Scripted) -> None:
    scripted.play(
        stream(event(1, message="a"), event(2, message="b")),
        stream(event(3, message="c"), event(4, "done", message="d")),
        OVER,
    )
    assert [one.message for one in client.jobs.events("job_1")] == ["a", "b", "c", "d"]
    assert [asked.headers.get("last-event-id") for asked in scripted.asked] == [None, "2", "4"]


def test_an_event_cut_in_the_middle_comes_whole_after_reconnecting(client: Client, scripted: Scripted) -> None:
    whole = event(1, message="a") + event(2, message="b")
    scripted.play(Answer(200, whole, cut=len(whole) - 3), stream(event(2, message="b"), event(3, "done")), OVER)
    assert [one.id for one in client.jobs.events("job_1")] == ["1", "2", "3"]
    assert scripted.asked[1].headers["last-event-id"] == "1"


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029", "\x0b", "\x1c"])
def test_what_unicode_calls_an_end_of_line_is_text(client: Client, scripted: Scripted, end: str) -> None:
    said = f"one{end}two"
    written = f"id: 1\r\nevent: log\r\ndata: {json.dumps({'message': said}, ensure_ascii=False)}\r\n\r\n".encode()
    scripted.play(stream(written, event(2, "done", message="end")), OVER)
    assert [one.message for one in client.jobs.events("job_1")] == [said, "end"]


def test_a_stream_can_begin_behind_an_event(client: Client, scripted: Scripted) -> None:
    scripted.play(stream(event(8, "done")), OVER)
    list(client.jobs.events("job_1", last_id="7"))
    assert scripted.asked[0].headers["last-event-id"] == "7"


def test_the_servers_retry_field_is_the_delay(client: Client, scripted: Scripted, slept: list[float]) -> None:
    scripted.play(stream(b"retry: 1500\n\n", event(1)), stream(event(2, "done")), OVER)
    list(client.jobs.events("job_1"))
    assert slept == [1.5]


def test_comments_and_types_of_a_later_server_are_passed_over(client: Client, scripted: Scripted) -> None:
    scripted.play(stream(b": ping\n\n", event(1, "aurora"), b"event: log\n\n", event(2, "done")), OVER)
    assert [one.id for one in client.jobs.events("job_1")] == ["2"]


def test_a_stream_that_never_says_anything_ends_in_words(client: Client, scripted: Scripted) -> None:
    scripted.play(stream())
    with pytest.raises(ServerUnreachable, match="ended before the job did"):
        list(client.jobs.events("job_1"))


def test_a_retried_job_is_followed_behind_its_first_end(client: Client, scripted: Scripted) -> None:
    scripted.play(stream(event(1, "done")), stream(event(2, "status"), event(3, "done")), OVER)
    assert [one.id for one in client.jobs.events("job_1")] == ["1", "2", "3"]


def test_a_job_that_is_not_there_is_an_api_error(client: Client, scripted: Scripted) -> None:
    with pytest.raises(ApiError):
        list(client.jobs.events("job_1"))
    assert len(scripted.asked) == 1


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")), min_size=1))
def test_data_of_several_lines_is_one_text(lines: list[str]) -> None:
    written = [*(f"data: {line}" for line in lines), ""]
    (frame,) = frames(iter(written))
    assert "\n".join(frame.data) == "\n".join(lines)


def test_an_unfinished_frame_is_dropped() -> None:
    assert list(frames(iter(["data: a"]))) == []
