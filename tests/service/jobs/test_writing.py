"""A language model's job is refused for what it lacks, and its task decided from its data set."""

from typing import Any

import httpx
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.service.samples import (
    WORDS,
    lines,
    tokenizer_json,
    upload_dataset,
    upload_model,
    upload_writer,
    writer_files,
)

PROMPTS = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(40)]
CHATS = [
    {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
    for row in PROMPTS
]
TEXTS = [{"text": row["prompt"]} for row in PROMPTS]


@pytest.fixture(scope="module")
def teacher(http: httpx.Client) -> str:
    return upload_writer(http)


@pytest.fixture(scope="module")
def prompts(http: httpx.Client) -> str:
    return upload_dataset(http, lines(*PROMPTS))


@pytest.fixture(scope="module")
def chats(http: httpx.Client) -> str:
    return upload_dataset(http, lines(*CHATS))


def asked(http: httpx.Client, **written: Any) -> httpx.Response:
    plain = {"student": {"from_teacher": {"layers": [0, 5]}}}
    return http.post("/v1/jobs?dry_run=true", json={**plain, **written})


def task(http: httpx.Client, **written: Any) -> str:
    answer = asked(http, **written)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["spec"]["task"])


def faults(http: httpx.Client, **written: Any) -> list[tuple[str, str]]:
    answer = asked(http, **written)
    assert answer.status_code == 422, answer.text
    assert all(fault["hint"] and fault["detail"] for fault in answer.json()["errors"])
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def test_an_uploaded_causal_model_says_what_it_is_for(http: httpx.Client, teacher: str) -> None:
    found = http.get(f"/v1/models/{teacher}").json()
    assert (found["task"], found["labels"], found["layers"]) == ("text-generation", None, 6)


@pytest.mark.parametrize("rows", [PROMPTS, CHATS, TEXTS], ids=["prompts", "chats", "texts"])
def test_the_task_is_decided_from_the_columns(http: httpx.Client, teacher: str, rows: list[dict[str, Any]]) -> None:
    assert task(http, teacher=teacher, dataset=upload_dataset(http, lines(*rows))) == "text-generation"


def test_texts_with_labels_make_a_classifier(http: httpx.Client) -> None:
    assert task(http, teacher=upload_model(http), student=upload_model(http), dataset=upload_dataset(http)) == (
        "text-classification"
    )


def test_a_task_that_was_decided_refuses_what_it_has_no_meaning_for(
    http: httpx.Client, teacher: str, prompts: str
) -> None:
    hidden = {"method": {"hidden": {}}, "student": {"from_teacher": {"layers": [0]}, "trainable": "head"}}
    assert faults(http, teacher=teacher, dataset=prompts, **hidden) == [
        ("/student/trainable", "wrong_for_task"),
        ("/method/hidden", "wrong_for_task"),
    ]


def test_a_model_that_does_not_write_is_no_teacher(http: httpx.Client, teacher: str, prompts: str) -> None:
    other = upload_model(http)
    assert faults(http, teacher=other, dataset=prompts) == [
        ("/teacher/model", "not_a_language_model"),
        ("/student/from_teacher/layers/1", "no_such_layer"),
    ]
    assert ("/student/model", "not_a_language_model") in faults(http, teacher=teacher, student=other, dataset=prompts)


def test_chats_need_a_template_and_prompts_do_not(http: httpx.Client, teacher: str, chats: str, prompts: str) -> None:
    bare = upload_writer(http, writer_files(template=False))
    assert faults(http, teacher=bare, dataset=chats) == [("/teacher/model", "chat_template_unusable")]
    assert faults(http, teacher=teacher, student=bare, dataset=chats) == [("/student/model", "chat_template_unusable")]
    assert task(http, teacher=bare, dataset=prompts) == "text-generation"
    beside = upload_writer(http, {**writer_files(template=False), "chat_template.jinja": b"{{ messages }}"})
    assert task(http, teacher=beside, dataset=chats) == "text-generation"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({**WORDS, "a": 2, "b": 1}, "'a' has id 2, and 1 for the teacher"),
        ({"<|end|>": 0, "x": 1}, "id 1 is 'x', and 'a' for the teacher"),
    ],
)
def test_other_tokens_are_refused_and_both_ways_out_are_named(
    http: httpx.Client, teacher: str, prompts: str, words: dict[str, int], says: str
) -> None:
    other = upload_writer(http, {**writer_files(), "tokenizer.json": tokenizer_json(words)})
    answer = asked(http, teacher=teacher, student=other, dataset=prompts)
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/student/model", "tokenizers_differ")
    assert says in fault["detail"]
    for way in ('"method": {"type": "sequence"}', '"alignment": "uld"'):
        assert way in fault["hint"]
    assert faults(http, teacher=[teacher, other], dataset=prompts) == [("/teacher/1/model", "tokenizers_differ")]


def test_other_tokens_are_taken_by_uld_and_of_the_same_ones_it_warns(
    http: httpx.Client, teacher: str, prompts: str
) -> None:
    other = upload_writer(http, {**writer_files(), "tokenizer.json": tokenizer_json({"<|end|>": 0, "x": 1})})
    uld = {"teacher": teacher, "dataset": prompts, "method": {"alignment": "uld"}}
    answer = asked(http, **uld, student=other)
    assert answer.status_code == 200, answer.text
    assert answer.json()["warnings"] == []
    assert answer.json()["spec"]["method"]["alignment"] == "uld"
    same = upload_writer(http)
    for student in (same, {"from_teacher": {"layers": [0]}}):
        (warning,) = asked(http, **uld, student=student).json()["warnings"]
        assert "a divergence of plain logits says more" in warning


def test_classifiers_do_not_align(http: httpx.Client) -> None:
    classifier = upload_model(http)
    written = {"teacher": classifier, "student": classifier, "dataset": upload_dataset(http)}
    assert faults(http, **written, method={"alignment": "uld"}) == [("/method/alignment", "wrong_for_task")]


def test_one_may_know_more_tokens_than_the_other(http: httpx.Client, teacher: str, prompts: str) -> None:
    more = upload_writer(http, {**writer_files(), "tokenizer.json": tokenizer_json({**WORDS, "c": 3})})
    assert task(http, teacher=teacher, student=more, dataset=prompts) == "text-generation"


def test_logits_need_completions(http: httpx.Client, teacher: str) -> None:
    alone = upload_dataset(http, lines(*[{"prompt": row["prompt"]} for row in PROMPTS]))
    answer = asked(http, teacher=teacher, dataset=alone)
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/dataset/columns/completion", "missing_column")
    assert '{"type": "sequence"}' in fault["hint"]
    empty = upload_dataset(http, lines(*[{"prompt": row["prompt"], "completion": None} for row in PROMPTS]))
    assert faults(http, teacher=teacher, dataset=empty) == [("/dataset/columns", "no_completions")]


def test_columns_hold_texts_and_are_there(http: httpx.Client, teacher: str) -> None:
    numbers = upload_dataset(http, lines(*[{"prompt": row["prompt"], "completion": 1} for row in PROMPTS]))
    assert faults(http, teacher=teacher, dataset=numbers) == [("/dataset/columns/completion", "not_text")]
    other = upload_dataset(http, lines({"question": "a"}, {"question": "b"}))
    assert faults(http, teacher=teacher, dataset=other, task="text-generation") == [
        ("/dataset/columns", "missing_column")
    ]


@pytest.mark.parametrize(
    ("chat", "why"),
    [
        ([{"role": "robot", "content": "x"}], "line 2: message 1 has the role 'robot'"),
        ([{"role": "user", "content": None}], "line 2: message 1 has no text"),
        ([], "line 2: messages are no list"),
    ],
)
def test_roles_and_contents_of_chats_are_checked(http: httpx.Client, teacher: str, chat: Any, why: str) -> None:
    wrong = upload_dataset(http, lines(CHATS[0], {"messages": chat}, *CHATS[2:]))
    answer = asked(http, teacher=teacher, dataset=wrong)
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/dataset/columns/messages", "not_chats")
    assert why in fault["detail"]


def test_something_is_held_out_and_something_left(http: httpx.Client, teacher: str, prompts: str) -> None:
    nothing = {"id": prompts, "validation": 0.0, "test": 0.0}
    assert faults(http, teacher=teacher, dataset=nothing) == [("/dataset/test", "nothing_held_out")]
    few = {"id": prompts, "max_examples": 2}
    assert faults(http, teacher=teacher, dataset=few) == [("/dataset", "too_few_examples")]


def spelling_writer(http: httpx.Client) -> str:
    """A model that reads a word as a token."""
    spelled = Tokenizer(WordLevel(WORDS, unk_token="<|end|>"))
    spelled.pre_tokenizer = Whitespace()
    return upload_writer(http, {**writer_files(), "tokenizer.json": spelled.to_str().encode()})


def test_prompts_that_all_reach_max_length_are_refused_and_one_that_does_not_is_enough(http: httpx.Client) -> None:
    teacher = spelling_writer(http)
    long = [{"prompt": "a " * 40, "completion": "b"} for _ in range(40)]
    cut, fits = (
        upload_dataset(http, lines(*long)),
        upload_dataset(http, lines(*long, {"prompt": "a", "completion": "b"})),
    )
    short, roomy = {"training": {"max_length": 40}}, {"training": {"max_length": 41}}
    assert faults(http, teacher=teacher, dataset=cut, **short) == [("/training/max_length", "all_cut")]
    assert task(http, teacher=teacher, dataset=cut, **roomy) == "text-generation"
    assert task(http, teacher=teacher, dataset=fits, **short) == "text-generation"


def test_of_very_many_prompts_that_are_cut_a_warning_is_given(http: httpx.Client) -> None:
    teacher = spelling_writer(http)
    many = upload_dataset(http, lines(*[{"prompt": "a " * 9, "completion": "b"}] * 1001))
    answer = asked(http, teacher=teacher, dataset=many, training={"max_length": 8})
    assert answer.status_code == 200
    assert "The first 1,000 prompts alone have 8 tokens or more" in answer.json()["warnings"][0]
