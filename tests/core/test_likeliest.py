"""Tokens are known by their ids or not at all."""

from typing import Any

import pytest

from core.likeliest import LEAST, places_of


def choice(*tokens: dict[str, Any]) -> dict[str, Any]:
    return {"logprobs": {"content": list(tokens)}}


def told(drawn: Any, *likeliest: tuple[Any, float], **more: Any) -> dict[str, Any]:
    top = [{"token": token, "logprob": log_p, **more} for token, log_p in likeliest]
    return {"token": drawn, "logprob": -0.5, **more, "top_logprobs": top}


def test_ids_are_read_as_vllm_and_llama_cpp_write_them() -> None:
    by_prefix = choice(told("token_id:7", ("token_id:7", -0.1), ("token_id:3", -2.5)))
    assert places_of(by_prefix) == ((7, ((7, -0.1), (3, -2.5))),)
    assert places_of(choice(told(" a", (" a", -0.1), id=7))) == ((7, ((7, -0.1),)),)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"logprobs": None},
        {"logprobs": {"content": None}},
        choice(told("the", ("the", -0.1))),
        choice(told("token_id:-1", ("token_id:1", -0.1))),
        choice(told("token_id:x", ("token_id:1", -0.1))),
        {"logprobs": {"content": [{"token": "token_id:1", "logprob": -0.1}]}},
    ],
    ids=str,
)
def test_without_every_id_nothing_is_known(content: dict[str, Any]) -> None:
    assert places_of(content) == ()


def test_what_is_all_but_impossible_stays_finite() -> None:
    assert places_of(choice(told("token_id:1", ("token_id:1", 0.3), ("token_id:2", -9999.0)))) == (
        (1, ((1, 0.0), (2, LEAST))),
    )
