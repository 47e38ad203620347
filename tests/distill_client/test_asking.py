"""Models asked through the client and on the command line: a real service, a real serving process, tiny models."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from distill_client import ApiError, Client, ServerUnreachable
from distill_client.cli import app
from distill_client.cli.output import plain
from tests.distill_client.scripted import Answer, Scripted
from tests.service.jobs.test_comparing import finished_job, uploaded
from tests.service.served import CLASSES, Served, llama

HELLO = [{"role": "user", "content": "Count from one:"}]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The service runs in this process: its log would stand among what a command writes."""
    with capture_logs():
        yield


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.live.url) as client:
        yield client


def run(served: Served, *words: str, stdin: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["--url", served.live.url, *words], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def answers(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_streamed_answer_is_the_whole_one(client: Client) -> None:
    whole = client.chat.complete("writer", HELLO, max_tokens=8, seed=3)
    assert "".join(client.chat.stream("writer", HELLO, max_tokens=8, seed=3)) == whole.text
    assert whole.usage["completion_tokens"] == 8
    with pytest.raises(ApiError, match="no model 'nobody'"):
        list(client.chat.stream("nobody", HELLO))


def test_one_message_is_answered_and_a_talk_remembers_what_was_said(served: Served, client: Client) -> None:
    settings = ("--max-tokens", "6", "--temperature", "0")
    code, out, _ = run(served, "chat", "writer", "-m", "Count from one:", *settings)
    first = client.chat.complete("writer", HELLO, max_tokens=6, temperature=0).text
    assert code == 0
    assert out == f"{plain(first)}\n"
    code, out, _ = run(served, "chat", "writer", "--json", *settings, stdin="Count from one:\n\nGo on.\n")
    talk = [*HELLO, {"role": "assistant", "content": first}, {"role": "user", "content": "Go on."}]
    second = client.chat.complete("writer", talk, max_tokens=6, temperature=0)
    told = [one["choices"][0]["message"]["content"] for one in answers(out)]
    assert told == [first, second.text]


def test_texts_are_classified(served: Served, client: Client) -> None:
    found = client.models.classify("judge", ["a good film", {"text": "a bad film", "text_pair": "dull"}])
    assert [one.index for one in found] == [0, 1]
    assert all(list(one.probabilities) == CLASSES for one in found)
    code, out, err = run(served, "classify", "judge", "a good film", "good " * 100)
    assert code == 0
    assert out.splitlines()[1].startswith(found[0].label)
    assert "longer than the model reads" in err
    code, out, _ = run(served, "classify", "judge", "--json", stdin="a good film\n\nbad\n")
    assert [one["text"] for one in answers(out)] == ["a good film", "bad"]
    code, _, err = run(served, "classify", "writer", "x")
    assert code == 1
    assert "/v1/chat/completions" in err


def test_a_jobs_models_are_compared(served: Served, client: Client) -> None:
    student = uploaded(served, llama(len(served.tokenizer), layers=2, seed=1))
    job_id = finished_job(served, student, teacher="writer", student={"config": {"model_type": "llama"}})
    found = client.jobs.compare(job_id, ["Count", HELLO], max_tokens=4)
    assert [side.role for side in found.sides] == ["teacher", "student_before", "student_after"]
    assert len(found.sides[2].answers) == 2
    code, out, _ = run(served, "compare", job_id, "Count from one:", "--chat", "--max-tokens", "4")
    assert code == 0
    assert "student after" in out
    assert "tokens/s" in out
    assert "random weights" in out
    code, out, _ = run(served, "compare", job_id, "Count", "--max-tokens", "4", "--json")
    assert answers(out)[0]["sides"][0]["answers"][0]["completion_tokens"] == 4


def test_a_stream_that_says_an_error_or_ends_early_is_no_answer(scripted: Scripted) -> None:
    """What a service writes whose serving process dies under it, and one that dies itself."""
    piece = {"choices": [{"index": 0, "delta": {"content": "one"}}]}
    failed = {"error": {"code": "serving_unavailable", "message": "it ended"}}
    with Client(scripted.url) as other:
        scripted.play(Answer(body=sse(piece, failed)))
        pieces = other.chat.stream("m", HELLO)
        assert next(pieces) == "one"
        with pytest.raises(ApiError, match="it ended"):
            next(pieces)
        scripted.play(Answer(body=sse(piece)))
        with pytest.raises(ServerUnreachable, match="ended early"):
            list(other.chat.stream("m", HELLO))


def sse(*chunks: dict[str, Any]) -> bytes:
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()
