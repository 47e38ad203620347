"""What is asked of a server, and what of its answer is kept."""

from pathlib import Path
from typing import Any

import pytest

from core.endpoints import NoLogprobs
from tests.core.test_likeliest import choice, told
from tests.misbehaving import Fault, completion, misbehaving, refusing, saying
from tests.worker.training.endpoint.conftest import asks_of, silent, writer_of


def test_they_are_asked_for_and_kept_with_the_text(tmp_path: Path) -> None:
    answer = completion("ab")
    answer["choices"][0] |= choice(told("token_id:1", ("token_id:1", -0.1)), told("token_id:2", ("token_id:2", -0.2)))
    with misbehaving(lambda number, body: saying(answer)) as server:
        (sample,) = writer_of(server, tmp_path, logprobs=5).write(asks_of(1), silent)
        asked = {
            name: server.calls[-1].get(name) for name in ("logprobs", "top_logprobs", "return_tokens_as_token_ids")
        }
    assert asked == {"logprobs": True, "top_logprobs": 5, "return_tokens_as_token_ids": True}
    assert sample.places == ((1, ((1, -0.1),)), (2, ((2, -0.2),)))


def test_a_server_that_tells_none_is_found_out_by_the_first_question(tmp_path: Path) -> None:
    def refuse(number: int, body: dict[str, Any]) -> Fault | None:
        unknown = "return_tokens_as_token_ids"
        return refusing(422, f"Unexpected fields: {unknown}") if unknown in body else None

    with misbehaving(refuse) as server, pytest.raises(NoLogprobs, match="without the ids"):
        writer_of(server, tmp_path, logprobs=5).write(asks_of(3), silent)
    assert server.prompts == []
    assert len(server.calls) == 2


def test_nobody_asks_for_what_is_not_wanted(tmp_path: Path) -> None:
    with misbehaving() as server:
        writer_of(server, tmp_path).write(asks_of(1), silent)
    assert not any("logprob" in name or "token_ids" in name for call in server.calls for name in call)
