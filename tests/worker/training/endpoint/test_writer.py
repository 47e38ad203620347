"""A teacher's server may do what servers do: what can be had is had, once, and what cannot has its reason."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.endpoints import TeacherFailing, TeacherRefused, TeacherUnreachable
from core.errors import JobFailed
from tests.misbehaving import CUT, GARBAGE, RESET, Fault, completion, misbehaving, refusing, saying
from tests.worker.training.endpoint.conftest import Ear, asks_of, silent, until_it_fails, writer_of, written
from worker.training.endpoint.purse import LEDGER
from worker.training.generation.samples import Ask, Prompt


def test_texts_come_with_what_they_cost(tmp_path: Path) -> None:
    ear = Ear()
    prices = {"price_per_million_prompt_tokens": 1e6, "price_per_million_completion_tokens": 2e6}
    with misbehaving() as server:
        samples = writer_of(server, tmp_path, ear=ear, budget=prices).write(asks_of(6, samples=2), silent)
    assert [sample.key for sample in samples] == [(index, sample) for index in range(6) for sample in range(2)]
    assert all(sample.text == f"echo: question {sample.prompt}" and sample.finished for sample in samples)
    assert {(sample.prompt_tokens, sample.completion_tokens) for sample in samples} == {(5, 7)}
    asked = 13  # the first question too
    assert ear.series == {
        "endpoint/requests": asked,
        "endpoint/prompt_tokens": 5 * asked,
        "endpoint/completion_tokens": 7 * asked,
        "endpoint/cost": asked * (5 + 2 * 7),
    }


def test_several_are_asked_at_once_and_never_more(tmp_path: Path) -> None:
    with misbehaving(lambda number, body: Fault(hang_seconds=0.03, status=500) if number % 5 == 0 else None) as server:
        writer_of(server, tmp_path, concurrency=4, max_retries=20).write(asks_of(24), silent)
    assert 2 <= server.most_busy <= 4


def test_each_sample_has_a_seed_of_its_own_that_the_next_run_repeats(tmp_path: Path) -> None:
    seeds = []
    for run in range(2):
        with misbehaving() as server:
            writer_of(server, tmp_path / str(run)).write(asks_of(4, samples=3), silent)
            seeds.append({(call["messages"][-1]["content"], call["seed"]) for call in server.calls[1:]})
    assert seeds[0] == seeds[1]
    assert len({seed for _, seed in seeds[0]}) == 12
    assert all(0 <= seed < 2**31 for _, seed in seeds[0])


def test_what_shapes_samples_is_sent_and_what_nobody_asked_for_is_not(tmp_path: Path) -> None:
    with misbehaving() as server:
        shaped = {
            "temperature": 0.3,
            "top_p": 0.9,
            "stop": ["END"],
            "top_k": 5,
            "min_p": 0.1,
            "system_prompt": "be brief",
        }
        writer_of(server, tmp_path, generation=shaped, secret="sk-secret-value").write(asks_of(1), silent)
        call = server.calls[-1]
        assert call.pop("seed")
        assert call == {
            "model": "m",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "question 0"}],
            "max_tokens": 20,
            **{name: shaped[name] for name in ("temperature", "top_p", "stop", "top_k", "min_p")},
        }
        assert server.headers[-1]["Authorization"] == "Bearer sk-secret-value"
        writer_of(server, tmp_path, generation={"temperature": 0.0, "chat": False}).write(asks_of(1), silent)
        assert server.calls[-1] == {
            "model": "m",
            "prompt": "question 0",
            "max_tokens": 20,
            "temperature": 0.0,
            "top_p": 0.95,
        }


PASSING = [
    refusing(500),
    refusing(503),
    refusing(429),
    refusing(408),
    RESET,
    CUT,
    GARBAGE,
    saying({"choices": []}),
    saying({"choices": [{"message": {"content": 7}}]}),
    saying([1, 2]),
    Fault(hang_seconds=5),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: str(fault)[:70])
def test_what_may_pass_is_asked_for_again(tmp_path: Path, fault: Fault) -> None:
    met: set[str] = set()

    def once_each(number: int, body: dict[str, Any]) -> Fault | None:
        asked = body["messages"][-1]["content"]
        return None if asked in met or met.add(asked) else fault

    with misbehaving(once_each) as server:
        samples = writer_of(server, tmp_path, timeout_seconds=1.0 if fault.hang_seconds else 60).write(
            asks_of(4), silent
        )
    assert [sample.text for sample in samples] == [f"echo: question {index}" for index in range(4)]
    assert len(server.prompts) == 8 or fault.hang_seconds


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_what_is_refused_is_not_asked_for_again_and_has_its_reason(tmp_path: Path, status: int) -> None:
    def refuse_one(number: int, body: dict[str, Any]) -> Fault | None:
        return refusing(status, "too long by 3 tokens") if "question 2" in body["messages"][-1]["content"] else None

    with misbehaving(refuse_one) as server:
        samples = writer_of(server, tmp_path, min_success_ratio=0.9).write(asks_of(10), silent)
    assert sorted(server.prompts) == sorted(f"question {index}" for index in range(10))
    assert (samples[2].fault, samples[2].detail) == ("refused", f"{status} too long by 3 tokens")
    assert all(sample.fault is None for sample in samples if sample.prompt != 2)


def test_everybody_waits_while_the_server_asks_to_be_left_alone(tmp_path: Path) -> None:
    with misbehaving(lambda number, body: refusing(429, Retry_After="1") if number == 6 else None) as server:
        writer_of(server, tmp_path, concurrency=2).write(asks_of(24), silent)
    pauses = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert max(pauses) >= 0.9
    assert sum(pause >= 0.9 for pause in pauses) <= 3, "a pause for all, not one for each"


def test_a_tenth_of_the_calls_may_fail_where_retries_mend_it(tmp_path: Path) -> None:
    failed: Counter[str] = Counter()

    def refuse_a_tenth(number: int, body: dict[str, Any]) -> Fault | None:
        asked = body["messages"][-1]["content"]
        if number % 10 != 3 or failed[asked] == 3:  # by chance a text could meet every tenth call
            return None
        failed[asked] += 1
        return refusing(500)

    with misbehaving(refuse_a_tenth) as server:
        samples = writer_of(server, tmp_path, texts=60, max_retries=3).write(asks_of(60), silent)
    assert all(sample.fault is None for sample in samples)
    assert failed.total() >= 6


def test_few_failures_come_last_and_are_listed(tmp_path: Path) -> None:
    def fail(number: int, body: dict[str, Any]) -> Fault | None:
        return refusing(500, "on fire") if body["messages"][-1]["content"] in ("question 3", "question 8") else None

    with misbehaving(fail) as server:
        samples = written(writer_of(server, tmp_path, max_retries=1), asks_of(40))
    assert [(sample.prompt in (3, 8), sample.fault) for sample in samples[-2:]] == [(True, "unanswered")] * 2
    assert {sample.detail for sample in samples[-2:]} == {"500 on fire"}
    assert len(server.prompts) == 42


def test_too_many_failures_fail_the_job_and_none_of_them_is_kept(tmp_path: Path) -> None:
    def fail(number: int, body: dict[str, Any]) -> Fault | None:
        return refusing(422, "odd") if body["messages"][-1]["content"][-1] in "13579" else None

    with misbehaving(fail) as server:
        kept, error = until_it_fails(writer_of(server, tmp_path, min_success_ratio=0.9, concurrency=2), asks_of(40))
    assert isinstance(error, TeacherFailing)
    assert str(error) == "5 of 40 texts failed, more than min_success_ratio allows: 5 times 422 odd"
    assert kept
    assert all(sample.fault is None for sample in kept)
    assert len(server.prompts) < 30, "it does not go on once it is hopeless"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refusing(401, "key revoked"), TeacherRefused),
        (refusing(402, "no credit"), TeacherRefused),
        (refusing(500, "down"), TeacherUnreachable),
        (RESET, TeacherUnreachable),
        (Fault(hang_seconds=9), TeacherUnreachable),
    ],
    ids=["revoked", "no credit", "down", "reset", "hangs"],
)
def test_a_server_that_turns_bad_is_given_up_and_what_came_is_kept(
    tmp_path: Path, fault: Fault, error: type[JobFailed]
) -> None:
    with misbehaving(lambda number, body: fault if number > 12 else None) as server:
        patience = 1.5 if fault.hang_seconds else 60.0
        ways = {"max_retries": 1, "concurrency": 4, "min_success_ratio": 0.1}
        kept, found = until_it_fails(writer_of(server, tmp_path, timeout_seconds=patience, **ways), asks_of(40))
    assert type(found) is error
    assert 8 <= len(kept) <= 11, "all but what was on its way beside the one that ended it"
    assert all(sample.fault is None for sample in kept)
    assert len(server.calls) <= 12 + 2 * (8 + 4)


def test_withheld_texts_are_no_failures_and_no_texts(tmp_path: Path) -> None:
    said = {
        "question 0": completion("half a", "content_filter"),
        "question 1": completion("", "stop", content=None, refusal="I cannot"),
        "question 2": completion("", "tool_calls", content=None),
        "question 3": completion("cut o", "length"),
        "question 4": completion("5", "stop", reasoning_content="2 + 3"),
        "question 5": completion(""),
    }
    with misbehaving(
        lambda number, body: saying(answer) if (answer := said.get(body["messages"][-1]["content"])) else None
    ) as server:
        samples = writer_of(server, tmp_path, min_success_ratio=1.0).write(asks_of(6), silent)
    assert [(sample.fault, sample.detail, sample.text) for sample in samples[:3]] == [
        ("withheld", "content_filter", ""),
        ("withheld", "refusal", ""),
        ("withheld", "tool_calls", ""),
    ]
    assert [(sample.text, sample.finished, sample.fault) for sample in samples[3:]] == [
        ("cut o", False, None),
        ("<think>\n2 + 3\n</think>\n\n5", True, None),
        ("", True, None),
    ]


BUDGETS = [
    ({"max_requests": 9}, "requests"),
    ({"max_tokens": 12 * 8 + 700}, "tokens"),
    ({"max_cost": 1.0, "price_per_million_prompt_tokens": 1000, "price_per_million_completion_tokens": 2000}, "cost"),
]


@pytest.mark.parametrize(("budget", "what"), BUDGETS, ids=["requests", "tokens", "cost"])
def test_a_budget_ends_the_asking_before_it_is_overspent_and_what_came_is_kept(
    tmp_path: Path, budget: dict[str, Any], what: str
) -> None:
    ear = Ear()
    with misbehaving() as server:
        samples = writer_of(server, tmp_path, ear=ear, budget=budget, texts=90).write(asks_of(90), silent)
    texts = [sample for sample in samples if sample.fault is None]
    rest = [sample for sample in samples if sample.fault is not None]
    assert len(texts) + len(rest) == 90
    assert texts
    assert {sample.fault for sample in rest} == {"over_budget"}
    used = {
        "requests": (ear.series["endpoint/requests"], budget.get("max_requests")),
        "tokens": (12 * ear.series["endpoint/requests"], budget.get("max_tokens")),
        "cost": (ear.series.get("endpoint/cost"), budget.get("max_cost")),
    }[what]
    assert used[0] <= used[1]
    assert len(server.calls) == len(texts) + 1
    assert [level for level, message in ear.events if "budget" in message] == ["warning"]


def test_what_never_came_back_counts_as_if_it_had_cost_the_most(tmp_path: Path) -> None:
    ear = Ear()
    with misbehaving(lambda number, body: CUT if number == 2 else refusing(500) if number == 3 else None) as server:
        writer_of(server, tmp_path, ear=ear, concurrency=1).write(asks_of(3), silent)
    assert len(server.calls) == 6
    assert ear.series["endpoint/requests"] == 6
    assert ear.series["endpoint/completion_tokens"] == 4 * 7 + 20, "the cut one at its most, the failed one at nothing"


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": -3, "completion_tokens": 0}, {"prompt_tokens": "5"}, 7], ids=str
)
def test_counts_that_cannot_be_are_not_believed(tmp_path: Path, usage: Any) -> None:
    ear = Ear()
    with misbehaving(lambda number, body: saying(completion("a text of some length", usage=usage))) as server:
        samples = writer_of(server, tmp_path, ear=ear).write(asks_of(2), silent)
    assert all(sample.completion_tokens == 6 for sample in samples), "about four bytes to a token"
    assert ear.series["endpoint/completion_tokens"] == 20 + 20 + 16


def test_the_ledger_goes_on_where_an_earlier_attempt_ended(tmp_path: Path) -> None:
    budget = {"max_requests": 10}
    with misbehaving() as server:
        first = writer_of(server, tmp_path, budget=budget).write(asks_of(5), silent)
        again = writer_of(server, tmp_path, budget=budget).write(asks_of(40)[5:], silent)
    assert len(server.calls) == 10
    assert all(sample.fault is None for sample in first)
    assert [sample.fault for sample in again].count(None) == 3


def test_a_stop_ends_at_once_and_counts_what_was_on_its_way(tmp_path: Path) -> None:
    began = time.monotonic()

    def stop() -> None:
        if len(server.calls) == 6:  # three are answered, three hang
            raise InterruptedError

    with misbehaving(lambda number, body: Fault(hang_seconds=30) if number > 3 else None) as server:
        writer = writer_of(server, tmp_path, concurrency=3, timeout_seconds=60)
        kept, error = until_it_fails(writer, asks_of(20), stop)
    assert isinstance(error, InterruptedError)
    assert time.monotonic() - began < 25, "it waited for who hangs"
    assert len(kept) == 2
    ledger = json.loads((tmp_path / LEDGER).read_bytes())
    assert ledger["requests"] == len(server.calls) == 6
    assert ledger["completion_tokens"] == 3 * 7 + 3 * 20


def test_where_a_budget_ends_the_texts_are_a_fair_sample_of_all(tmp_path: Path) -> None:
    with misbehaving() as server:
        writer = writer_of(server, tmp_path, budget={"max_requests": 61}, texts=300)
        samples = writer.write(asks_of(300), silent)
    answered = [sample.prompt for sample in samples if sample.fault is None]
    assert len(answered) == 60
    assert 90 < sum(answered) / len(answered) < 210


def test_no_secret_comes_back_in_a_text_or_a_reason(tmp_path: Path) -> None:
    secret = "sk-live-0123456789"

    def repeat(number: int, body: dict[str, Any]) -> Fault | None:
        if body["messages"][-1]["content"] == "question 1":
            return refusing(400, f"bad key {secret}")
        escaped = "".join(f"\\u{ord(character):04x}" for character in secret)
        return Fault(body=json.dumps(completion("your key is HERE")).replace("HERE", escaped).encode())

    with misbehaving(repeat) as server:
        samples = writer_of(server, tmp_path, secret=secret, min_success_ratio=0.5).write(asks_of(2), silent)
    assert samples[0].text == "your key is (secret)"
    assert samples[1].detail == "400 bad key (secret)"


def test_nothing_is_asked_where_nothing_is_missing(tmp_path: Path) -> None:
    with misbehaving() as server:
        assert writer_of(server, tmp_path).write([], silent) == []
    assert server.calls == []


def test_a_conversation_goes_out_as_it_is(tmp_path: Path) -> None:
    turns = ({"role": "system", "content": "be long"}, {"role": "user", "content": "hello"})
    with misbehaving() as server:
        writer = writer_of(server, tmp_path, generation={"chat": False, "system_prompt": "be brief"})
        (sample,) = writer.write([Ask(Prompt(0, messages=turns), 0)], silent)
    assert server.calls[-1]["messages"] == list(turns)
    assert sample.text == "echo: hello"
