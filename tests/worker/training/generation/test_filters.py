"""Filters: each sample is kept or has the first reason against it."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FiltersUnusable
from core.methods import LANGUAGES, FiltersSpec, SequenceMethod
from worker.training.generation.filters import REASONS, Verdict, check_filters, in_words, judged
from worker.training.generation.language import known_languages
from worker.training.generation.mathematics import Mathematician
from worker.training.generation.samples import Prompt, Sample

ENGLISH = "the sum of two and three is five, as everybody knows"
GERMAN = "die Summe von zwei und drei ist fünf, wie alle wissen"


def method_of(samples: int = 1, keep_reasoning: bool = True, **filters: Any) -> SequenceMethod:
    return SequenceMethod.model_validate(
        {"generation": {"samples_per_prompt": samples}, "filters": filters, "keep_reasoning": keep_reasoning}
    )


def sample(text: str, prompt: int = 0, number: int = 0, *, finished: bool = True) -> Sample:
    return Sample(prompt, number, text, 3, len(text.split()), finished)


def verdicts(method: SequenceMethod, *samples: Sample, answers: tuple[str | None, ...] = ()) -> list[Verdict]:
    indices = {sample.prompt for sample in samples}
    prompts = {
        index: Prompt(index, f"question {index}", answer=answers[index] if index < len(answers) else None)
        for index in indices
    }
    with Mathematician(answer_seconds=60) as mathematician:
        return list(judged(samples, prompts, method, mathematician))


def reasons(method: SequenceMethod, *samples: Sample, answers: tuple[str | None, ...] = ()) -> list[str | None]:
    return [verdict.reason for verdict in verdicts(method, *samples, answers=answers)]


@pytest.mark.parametrize(
    ("filters", "text", "reason"),
    [
        ({}, "one two", None),
        ({}, " \n", "empty"),
        ({"min_tokens": 3}, "one two", "too_short"),
        ({"min_tokens": 2, "max_tokens": 2}, "one two", None),
        ({"max_tokens": 1}, "one two", "too_long"),
        ({"pattern": r"^\w+ two$"}, "one two", None),
        ({"pattern": r"three"}, "one two", "pattern_not_found"),
        ({"language": "en"}, ENGLISH, None),
        ({"language": "de"}, ENGLISH, "other_language"),
        ({"language": "de"}, GERMAN, None),
        ({"min_tokens": 3, "pattern": "three", "verifier": {"type": "exact"}}, "one two", "too_short"),
    ],
)
def test_the_first_reason_counts(filters: dict[str, Any], text: str, reason: str | None) -> None:
    assert reasons(method_of(**filters), sample(text), answers=("one two",)) == [reason]


def test_only_finished_texts_are_kept_unless_others_are_wanted() -> None:
    assert reasons(method_of(), sample("one", finished=False)) == ["unfinished"]
    assert reasons(method_of(finished_only=False), sample("one", finished=False)) == [None]


def test_a_fault_of_the_writing_is_its_reason() -> None:
    faulty = Sample(0, 0, "", 900, 0, finished=False, fault="prompt_too_long")
    assert reasons(method_of(), faulty) == ["prompt_too_long"]


def test_reasoning_stays_or_goes() -> None:
    thought = sample("<think>two and two</think>\n\nfour")
    assert verdicts(method_of(), thought)[0].text == thought.text
    assert verdicts(method_of(keep_reasoning=False), thought)[0].text == "four"
    assert verdicts(method_of(keep_reasoning=False), sample("two and two</think>four"))[0].text == "four"
    assert reasons(method_of(keep_reasoning=False), sample("<think>two and")) == ["reasoning_never_ends"]
    assert reasons(method_of(keep_reasoning=False), sample("<think>two</think> ")) == ["empty"]


def test_texts_that_differ_in_thoughts_alone_are_duplicates_without_them() -> None:
    pair = (sample("<think>a</think>four"), sample("<think>b</think>four", number=1))
    assert reasons(method_of(2), *pair) == [None, None]
    assert reasons(method_of(2, keep_reasoning=False), *pair) == [None, "duplicate"]


def test_right_answers_are_kept() -> None:
    method = method_of(verifier={"type": "numeric"})
    pair = (sample("it is 4", 0), sample("it is 5", 1), sample("it is 6", 2))
    assert reasons(method, *pair, answers=("4", "4", None)) == [None, "wrong_answer", "no_right_answer"]


def test_agreement_keeps_what_k_samples_say() -> None:
    texts = ["I think 4", "4", "it is 5", "surely 4.0", "no idea"]
    group = [sample(text, number=number) for number, text in enumerate(texts)]
    method = method_of(5, agreement={"k": 3}, verifier={"type": "numeric"})
    expected = [None, None, "wrong_answer", None, "wrong_answer"]
    assert reasons(method, *group, answers=("4",)) == expected
    plain = method_of(5, agreement={"k": 2}, deduplicate=None)
    assert reasons(plain, *group) == ["no_agreement"] * 5
    assert reasons(plain, *[sample("yes ", number=number) for number in range(2)]) == [None, None]


def test_agreement_on_mathematics_sees_through_notation() -> None:
    texts = [r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{3}"]
    group = [sample(text, number=number) for number, text in enumerate(texts)]
    method = method_of(3, agreement={"k": 2}, verifier={"type": "boxed"})
    assert reasons(method, *group, answers=("1/2",)) == [None, None, "wrong_answer"]


POOL = ["yes", "yes ", "no", "", "four 4", "<think>x</think>4", "<think>x", ENGLISH, GERMAN]
FILTERS: list[dict[str, Any]] = [
    {},
    {"deduplicate": "near"},
    {"deduplicate": None, "min_tokens": 2},
    {"pattern": "e", "language": "en"},
    {"verifier": {"type": "numeric"}},
]


@given(st.data(), st.sampled_from(FILTERS), st.booleans())
def test_laws(data: st.DataObject, filters: dict[str, Any], keep_reasoning: bool) -> None:
    """The order in which prompts were read changes no count; what was kept is kept again; reasons have words."""
    method = method_of(3, keep_reasoning, **filters)
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(POOL), st.booleans()), min_size=1, max_size=12))
    samples = [sample(text, place // 3, place % 3, finished=flag) for place, (text, flag) in enumerate(chosen)]
    answers = ("4",) * len(samples)
    first = verdicts(method, *samples, answers=answers)
    groups = [samples[start : start + 3] for start in range(0, len(samples), 3)]
    random.Random(data.draw(st.integers(0, 9))).shuffle(groups)
    shuffled = verdicts(method, *[sample for group in groups for sample in group], answers=answers)
    assert Counter(verdict.reason for verdict in first) == Counter(verdict.reason for verdict in shuffled)
    kept = [verdict.sample for verdict in first if verdict.kept]
    assert all(verdict.kept for verdict in verdicts(method, *kept, answers=answers))
    assert {verdict.reason for verdict in first} <= {None, *REASONS}


def test_no_pattern_takes_exponential_time() -> None:
    assert reasons(method_of(pattern="^(a+)+$"), sample("a" * 50_000 + "!")) == ["pattern_not_found"]


def test_a_schema_that_is_none_is_refused() -> None:
    verifier = {"type": "json_schema", "json_schema": {"type": "nonsense"}}
    with pytest.raises(FiltersUnusable, match="json_schema"):
        check_filters(FiltersSpec.model_validate({"verifier": verifier}))


def test_counts_are_said_in_words() -> None:
    assert in_words({"duplicate": 2, "unfinished": 1500}) == "1,500 cut off by max_new_tokens, 2 that repeat another"


def test_the_spec_knows_every_language_that_can_be_told_apart() -> None:
    assert {code for code in known_languages() if len(code) == 2} == LANGUAGES
