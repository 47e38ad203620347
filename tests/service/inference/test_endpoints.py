"""Language models answer in OpenAI's shapes, out of a real serving process.

Legend: T positions, V vocabulary.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
import torch

from tests.service.served import Served, given_to, llama, tokenizer_of, upload
from tests.worker.training.language.conftest import saved

HELLO = [{"role": "system", "content": "Count."}, {"role": "user", "content": "Count from one:"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def ask(served: Served, path: str = CHAT, **changes: Any) -> httpx.Response:
    plain = {"messages": HELLO} if path == CHAT else {"prompt": "Count from one:"}
    return served.http.post(path, json={"model": "writer", "max_tokens": 12, **plain, **changes}, timeout=120)


def answered(served: Served, path: str = CHAT, **changes: Any) -> dict[str, Any]:
    answer = ask(served, path, **changes)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def streamed(served: Served, path: str = CHAT, **changes: Any) -> list[dict[str, Any]]:
    answer = ask(served, path, stream=True, **changes)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def generated(served: Served, ids: list[int], tokens: int) -> str:
    """What transformers itself goes on with."""
    model: Any = served.writer
    whole = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=tokens, eos_token_id=2)
    text = served.tokenizer.decode(whole[0, len(ids) :], skip_special_tokens=True)
    return str(text)


def test_a_greedy_chat_says_what_transformers_generates(served: Served) -> None:
    whole = answered(served, temperature=0)
    rendered: Any = served.tokenizer.apply_chat_template(HELLO, add_generation_prompt=True, tokenize=False)
    ids = served.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": generated(served, ids, 12), "refusal": None},
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    assert whole["usage"] == {"prompt_tokens": len(ids), "completion_tokens": 12, "total_tokens": len(ids) + 12}
    assert whole["object"] == "chat.completion"
    assert abs(whole["created"] - time.time()) < 60


def test_a_greedy_completion_goes_on_with_the_text_as_it_is(served: Served) -> None:
    ids = served.tokenizer("Count from one:")["input_ids"]
    for prompt in ("Count from one:", ids):
        whole = answered(served, TEXT, prompt=prompt, temperature=0)
        assert whole["choices"][0]["text"] == generated(served, ids, 12)
        assert whole["usage"]["prompt_tokens"] == len(ids)


def test_a_stream_joined_is_the_whole_answer(served: Served) -> None:
    sampled = {"n": 2, "seed": 7, "temperature": 0.9, "stop": ["x"], "logprobs": True, "top_logprobs": 2}
    whole = answered(served, **sampled)
    chunks = streamed(served, **sampled, stream_options={"include_usage": True})
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-1]["choices"] == []
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert parts[0]["delta"]["role"] == "assistant"
        assert "".join(part["delta"].get("content", "") for part in parts) == choice["message"]["content"]
        told = [token for part in parts if part["logprobs"] for token in part["logprobs"]["content"]]
        assert told == choice["logprobs"]["content"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]


def test_a_streamed_completion_joined_is_the_whole_one(served: Served) -> None:
    sampled = {"prompt": ["Count", " one"], "seed": 7, "echo": True, "logprobs": 2, "max_tokens": 4}
    whole, chunks = answered(served, TEXT, **sampled), streamed(served, TEXT, **sampled)
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
            told = [one for part in parts if part["logprobs"] for one in part["logprobs"][name]]
            assert told == choice["logprobs"][name]


def test_a_seed_gives_the_same_texts_again_and_another_one_others(served: Served) -> None:
    first, again, other = (answered(served, n=3, seed=seed) for seed in (11, 11, -12))
    assert first["choices"] == again["choices"]
    assert first["choices"] != other["choices"]
    assert first["system_fingerprint"] == again["system_fingerprint"]
    assert first["id"] != again["id"]
    unseeded = [answered(served, n=3)["choices"] for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_log_probabilities_are_those_of_a_direct_forward_pass(served: Served) -> None:
    whole = answered(served, TEXT, max_tokens=0, echo=True, logprobs=3, return_tokens_as_token_ids=True)
    (choice,) = whole["choices"]
    assert choice["text"] == "Count from one:"
    ids = served.tokenizer("Count from one:")["input_ids"]
    told = choice["logprobs"]
    assert told["tokens"] == [f"token_id:{token}" for token in ids]
    model: Any = served.writer
    with torch.inference_mode():
        logprobs_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [None, *(float(logprobs_TV[place, token]) for place, token in enumerate(ids[1:]))]
    assert told["token_logprobs"][0] is None
    assert told["token_logprobs"][1:] == pytest.approx(expected[1:], abs=1e-4)
    for place, top in enumerate(told["top_logprobs"][1:]):
        best = logprobs_TV[place].topk(3)
        assert list(top) == [f"token_id:{token}" for token in best.indices.tolist()]
        assert list(top.values()) == pytest.approx(best.values.tolist(), abs=1e-4)


def test_openais_own_client_is_served(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.live.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(
            model="writer",
            messages=HELLO,
            seed=3,
            max_completion_tokens=6,
            logprobs=True,
            top_logprobs=1,  # type: ignore[arg-type] # plain dicts
        )
        message = whole.choices[0].message
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 6
        assert whole.choices[0].logprobs is not None
        assert len(whole.choices[0].logprobs.content or ()) == 6
        again = client.chat.completions.create(
            model="writer",
            messages=HELLO,
            seed=3,
            max_completion_tokens=6,
            stream=True,  # type: ignore[arg-type] # plain dicts
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in again) == message.content
        # An answer may be sent back as history, as it came.
        longer = [*HELLO, message, {"role": "user", "content": [{"type": "text", "text": "Go on."}]}]
        client.chat.completions.create(model="writer", messages=longer, max_completion_tokens=2)  # type: ignore[arg-type] # as above
        text = client.completions.create(model="writer", prompt="Count", max_tokens=3, logprobs=2, seed=3)
        assert text.choices[0].logprobs is not None
        assert text.choices[0].finish_reason == "length"
        with pytest.raises(openai.NotFoundError, match="no model 'nobody'"):
            client.chat.completions.create(model="nobody", messages=HELLO)  # type: ignore[arg-type] # as above
        with pytest.raises(openai.UnprocessableEntityError, match="is a classifier") as refusal:
            client.completions.create(model="judge", prompt="Count")
        assert refusal.value.param == "model"


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    problem = answer.json()
    assert problem["error"]["message"] == problem["detail"]
    return answer.status_code, problem["code"], problem["errors"][0]["pointer"] if problem["errors"] else None


def test_what_cannot_be_asked_is_refused_with_its_place(served: Served) -> None:
    assert refusal(ask(served, model="nobody")) == (404, "model_not_found", None)
    assert refusal(ask(served, model="judge")) == (422, "not_a_language_model", "/model")
    assert "/v1/models/judge/classify" in ask(served, model="judge").json()["hint"]
    assert refusal(ask(served, model="plain")) == (422, "chat_template_unusable", "/messages")
    assert refusal(ask(served, max_tokens=120)) == (422, "context_length_exceeded", "/messages")
    assert refusal(ask(served, stream=True, max_tokens=120)) == (422, "context_length_exceeded", "/messages")
    assert refusal(ask(served, TEXT, prompt="Count " * 100)) == (422, "context_length_exceeded", "/prompt")
    assert refusal(ask(served, TEXT, prompt=[9999])) == (422, "token_unknown", "/prompt")
    assert refusal(ask(served, max_tokens=5000)) == (422, "too_many_tokens", "/max_tokens")
    assert refusal(ask(served, max_completion_tokens=5000)) == (422, "too_many_tokens", "/max_completion_tokens")
    assert refusal(ask(served, TEXT, prompt=["a"] * 32, n=3)) == (422, "too_many_texts", "/n")
    assert refusal(ask(served, top_logprobs=3)) == (422, "logprobs_missing", "")
    assert refusal(ask(served, TEXT, max_tokens=0)) == (422, "nothing_asked", "")
    assert refusal(ask(served, tools=[])) == (422, "unknown_field", "/tools")


def test_without_max_tokens_a_chat_goes_on_to_the_end_of_its_context(served: Served) -> None:
    usage = answered(served, max_tokens=None, temperature=0)["usage"]
    assert usage["total_tokens"] == 128


def test_another_owners_model_is_as_none(served: Served) -> None:
    name = f"theirs-{uuid4().hex[:8]}"
    folder = served.live.settings.work / name
    upload(served.http, saved(folder, llama(len(served.tokenizer)), tokenizer_of()), name)
    assert ask(served, model=name).status_code == 200
    given_to(served.live.database, name, "somebody else")
    assert refusal(ask(served, model=name)) == (404, "model_not_found", None)


ENDLESS = {"model": "endless", "prompt": "Count", "max_tokens": 4000, "temperature": 0, "logprobs": 0}


@contextmanager
def long_stream(served: Served) -> Iterator[Iterator[str]]:
    """A stream that has begun, and goes on for much longer than a test lasts."""
    with served.http.stream("POST", TEXT, json={**ENDLESS, "stream": True}, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        yield lines


def at_work(served: Served) -> int:
    with served.process() as process:
        return int(process.get("/healthz", timeout=60).json()["requests"])


def wait_for(served: Served, requests: int) -> None:
    deadline = time.monotonic() + 60
    while at_work(served) != requests:
        assert time.monotonic() < deadline, f"{at_work(served)} are at work, not {requests}"
        time.sleep(0.02)


def test_a_client_that_leaves_ends_the_writing(served: Served) -> None:
    answered(served, TEXT, model="endless", max_tokens=1)
    with long_stream(served):
        assert at_work(served) == 1
    wait_for(served, 0)
    # One that waits for a whole answer ends it too.
    with pytest.raises(httpx.ReadTimeout):
        served.http.post(TEXT, json=ENDLESS, timeout=0.3)
    wait_for(served, 0)


def test_requests_beyond_those_that_may_wait_are_sent_away_until_later(served: Served) -> None:
    answered(served, TEXT, model="endless", max_tokens=1)
    with ThreadPoolExecutor(1) as pool:
        with long_stream(served), long_stream(served):
            waiting = pool.submit(ask, served, TEXT)
            wait_for(served, 3)
            refused = ask(served)
            assert (refused.status_code, refused.json()["code"]) == (429, "serving_busy")
            assert int(refused.headers["retry-after"]) > 0
            assert not waiting.done()
        assert waiting.result(30).status_code == 200
    wait_for(served, 0)
