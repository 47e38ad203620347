"""The first question tells what is wrong before anything is paid for, in the server's own words."""

from pathlib import Path
from typing import Any

import pytest

from core.endpoints import TeacherRefused, TeacherUnreachable
from core.errors import JobFailed
from tests.misbehaving import GARBAGE, RESET, Fault, misbehaving, refusing
from tests.worker.training.endpoint.conftest import asks_of, silent, writer_of


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (refusing(401, "Incorrect API key"), TeacherRefused, "401 Incorrect API key"),
        (refusing(404, "no model x"), TeacherRefused, "404 no model x; it serves m, larger"),
        (refusing(403, "not for you"), TeacherRefused, "403 not for you"),
        (refusing(500, "down"), TeacherUnreachable, "500 down"),
        (refusing(429, "slow down"), TeacherUnreachable, "429 slow down"),
        (RESET, TeacherUnreachable, "connection"),
        (GARBAGE, TeacherUnreachable, "no completion came: 200 <html>oops</html>"),
        (Fault(hang_seconds=9), TeacherUnreachable, "no whole answer within 0.3 seconds"),
    ],
    ids=str,
)
def test_a_server_of_no_use_is_found_out_by_one_question(
    tmp_path: Path, fault: Fault, error: type[JobFailed], words: str
) -> None:
    with misbehaving(lambda number, body: fault) as server:
        writer = writer_of(server, tmp_path, max_retries=1, timeout_seconds=0.3 if fault.hang_seconds else 60)
        with pytest.raises(error) as refused:
            writer.write(asks_of(20), silent)
    assert words in str(refused.value)
    assert server.url in str(refused.value)
    assert server.prompts == []


def test_where_nobody_listens_that_is_said(tmp_path: Path) -> None:
    with misbehaving() as server:
        pass
    with pytest.raises(TeacherUnreachable, match="no connection"):
        writer_of(server, tmp_path, max_retries=1).write(asks_of(2), silent)


@pytest.mark.parametrize(
    ("words", "sent", "unsent"),
    [
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_completion_tokens",
            "max_tokens",
        ),
        ("Extra inputs are not permitted: seed", "max_tokens", "seed"),
    ],
)
def test_a_server_is_asked_in_its_own_way(tmp_path: Path, words: str, sent: str, unsent: str) -> None:
    with misbehaving(lambda number, body: refusing(400, words) if unsent in body else None) as server:
        samples = writer_of(server, tmp_path).write(asks_of(5), silent)
    assert all(sample.fault is None for sample in samples)
    assert sum(unsent in call for call in server.calls) == 1, "found out once, and remembered"
    assert all(sent in call for call in server.calls[1:])


def test_a_parameter_that_a_server_does_not_know_is_named(tmp_path: Path) -> None:
    def refuse(number: int, body: dict[str, Any]) -> Fault | None:
        return refusing(422, "Unexpected fields: min_p") if "min_p" in body else None

    with misbehaving(refuse) as server, pytest.raises(TeacherRefused, match="Unexpected fields: min_p"):
        writer_of(server, tmp_path, generation={"min_p": 0.1}).write(asks_of(2), silent)


def test_the_first_question_is_short(tmp_path: Path) -> None:
    with misbehaving() as server:
        writer_of(server, tmp_path, generation={"max_new_tokens": 4000}).write(asks_of(1), silent)
        assert [call["max_tokens"] for call in server.calls] == [16, 4000]
