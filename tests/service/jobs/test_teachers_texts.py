"""A job by texts is refused for what its teachers would lack: prompts, right answers, a template, a name."""

from typing import Any

import httpx
import pytest

from tests.service.samples import lines, upload_dataset, upload_writer, writer_files, zipped

ROWS = [
    {"prompt": f"What is {n}?", "completion": f"It is {n}.", "answer": n, "who": ["a", "b"][n % 2], "empty": None}
    for n in range(40)
]
STUDENT = {"from_teacher": {"layers": [0, 5]}}


@pytest.fixture(scope="module")
def teacher(http: httpx.Client) -> str:
    return upload_writer(http)


@pytest.fixture(scope="module")
def complete(http: httpx.Client) -> str:
    return upload_dataset(http, lines(*ROWS))


@pytest.fixture(scope="module")
def alone(http: httpx.Client) -> str:
    return upload_dataset(http, lines(*[{"prompt": row["prompt"]} for row in ROWS]))


def asked(http: httpx.Client, method: dict[str, Any] | None = None, **written: Any) -> httpx.Response:
    body = {"student": STUDENT, "method": {"type": "sequence", **(method or {})}, **written}
    return http.post("/v1/jobs?dry_run=true", json=body)


def taken(http: httpx.Client, method: dict[str, Any] | None = None, **written: Any) -> dict[str, Any]:
    answer = asked(http, method, **written)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def faults(http: httpx.Client, method: dict[str, Any] | None = None, **written: Any) -> list[tuple[str, str]]:
    answer = asked(http, method, **written)
    assert answer.status_code == 422, answer.text
    assert all(fault["hint"] and fault["detail"] for fault in answer.json()["errors"])
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def test_prompts_alone_are_enough_and_the_loss_is_said_honestly(http: httpx.Client, teacher: str, alone: str) -> None:
    body = {"teacher": teacher, "dataset": alone, "training": {"max_length": 512}}
    answer = taken(http, **body)
    assert answer["spec"]["task"] == "text-generation"
    assert [warning[:44] for warning in answer["warnings"]] == ["The data set has no completions of its own, "]
    assert taken(http, **body, evaluation={"baseline": False})["warnings"] == []
    job = http.post("/v1/jobs", json={**body, "student": STUDENT, "method": {"type": "sequence"}}).json()
    assert job["loss"] == {"formula": "CE(teacher's text)", "T": None, "alpha": None}


def test_what_plays_no_part_and_what_will_be_cut_is_said(http: httpx.Client, teacher: str, complete: str) -> None:
    answer = taken(http, teacher=teacher, dataset=complete, T=3.0, alpha=1.0)
    unused, cut = answer["warnings"]
    assert unused == "Method sequence learns texts as labels: T and alpha play no part."
    assert "longer ones are cut" in cut


def test_texts_hold_nothing_to_ask(http: httpx.Client, teacher: str) -> None:
    texts = upload_dataset(http, lines(*[{"text": row["prompt"]} for row in ROWS]))
    assert faults(http, teacher=teacher, dataset=texts) == [("/dataset/columns", "no_prompts")]


@pytest.mark.parametrize(("column", "code"), [("solution", "missing_column"), ("empty", "no_answers")])
def test_a_verifier_needs_right_answers(
    http: httpx.Client, teacher: str, complete: str, column: str, code: str
) -> None:
    verifier = {"type": "numeric", "column": column}
    wanted = [("/method/filters/verifier/column", code)]
    assert faults(http, {"filters": {"verifier": verifier}}, teacher=teacher, dataset=complete) == wanted
    schema = {**verifier, "type": "json_schema", "json_schema": {"type": "object"}}
    taken(http, {"filters": {"verifier": schema}}, teacher=teacher, dataset=complete)
    taken(http, {"filters": {"verifier": {"type": "numeric"}}}, teacher=teacher, dataset=complete)


def test_a_route_names_teachers_of_the_job(http: httpx.Client, complete: str) -> None:
    for name in ("a", "b"):
        http.post("/v1/models", files={"file": ("m.zip", zipped(writer_files()))}, data={"name": name})
    both: dict[str, Any] = {"teacher": ["a", "b"], "dataset": complete}
    taken(http, {"route": "who"}, **both)
    for column, code in (("nobody", "missing_column"), ("prompt", "no_such_teacher"), ("empty", "no_such_teacher")):
        assert faults(http, {"route": column}, **both) == [("/method/route", code)]
    for wrong in (["a"], ["a", "a"]):
        assert faults(http, {"route": "who"}, **{**both, "teacher": wrong}) == [("/method/route", "wrong_for_method")]


def test_orders_need_a_teacher_that_chats_and_prompts_do_not(http: httpx.Client, alone: str) -> None:
    bare = upload_writer(http, writer_files(template=False))
    for generation in ({"system_prompt": "Be brief."}, {"chat": True}):
        assert faults(http, {"generation": generation}, teacher=bare, dataset=alone) == [
            ("/teacher/model", "chat_template_unusable")
        ]
    taken(http, teacher=bare, dataset=alone)
    taken(http, {"generation": {"chat": False}}, teacher=bare, dataset=alone)


def test_a_teacher_is_fine_tuned_on_completions_alone(http: httpx.Client, teacher: str, alone: str) -> None:
    tuned = {"model": teacher, "finetune": {}}
    assert faults(http, teacher=tuned, dataset=alone) == [("/teacher/finetune", "no_completions")]


def test_more_texts_and_longer_ones_take_longer(http: httpx.Client, teacher: str, complete: str) -> None:
    def seconds(**generation: int) -> float:
        body = {"teacher": teacher, "dataset": complete, "training": {"max_steps": 1}}
        return float(taken(http, {"generation": generation}, **body)["estimate"]["seconds"])

    assert seconds(max_new_tokens=32_000, samples_per_prompt=64) > seconds(max_new_tokens=32_000, samples_per_prompt=16)
    assert seconds(max_new_tokens=32_000, samples_per_prompt=64) > seconds(max_new_tokens=16_000, samples_per_prompt=64)
