"""A student that learns on its own texts needs something to be asked, and completions for the share that it leaves."""

from typing import Any

import httpx
import pytest

from tests.service.samples import lines, upload_dataset, upload_writer

PROMPTS = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(40)]
ALONE = {"alpha": 1.0, "method": {"type": "on_policy", "student_share": 1.0}}


@pytest.fixture(scope="module")
def teacher(http: httpx.Client) -> str:
    return upload_writer(http)


@pytest.fixture(scope="module")
def complete(http: httpx.Client) -> str:
    return upload_dataset(http, lines(*PROMPTS))


@pytest.fixture(scope="module", params=["without the column", "with an empty one"])
def bare(http: httpx.Client, request: pytest.FixtureRequest) -> str:
    more = {} if request.param == "without the column" else {"completion": None}
    return upload_dataset(http, lines(*[{"prompt": row["prompt"], **more} for row in PROMPTS]))


def asked(http: httpx.Client, **written: Any) -> httpx.Response:
    plain = {"student": {"from_teacher": {"layers": [0, 5]}}, "method": {"type": "on_policy"}}
    return http.post("/v1/jobs?dry_run=true", json={**plain, **written})


def faults(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    assert all(fault["hint"] and fault["detail"] for fault in answer.json()["errors"])
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def test_the_defaults_are_said(http: httpx.Client, teacher: str, complete: str) -> None:
    answer = asked(http, teacher=teacher, dataset=complete)
    assert answer.status_code == 200, answer.text
    spec = answer.json()["spec"]
    assert spec["task"] == "text-generation"
    method = spec["method"]
    assert (method["divergence"], method["beta"], method["student_share"]) == ("jsd", 0.5, 0.5)
    assert (method["generation"]["temperature"], method["generation"]["top_p"]) == (1.0, 1.0)


def test_a_job_says_where_its_cross_entropy_counts(http: httpx.Client, teacher: str, complete: str) -> None:
    body = {"student": {"from_teacher": {"layers": [0, 5]}}, "method": {"type": "on_policy", "divergence": "tvd"}}
    answer = http.post("/v1/jobs", json={**body, "teacher": teacher, "dataset": complete})
    assert answer.status_code == 202, answer.text
    assert answer.json()["loss"]["formula"] == "alpha*T^2*TVD(teacher,student)+(1-alpha)*CE(data set's completions)"


def test_without_completions_the_student_writes_all(http: httpx.Client, teacher: str, bare: str) -> None:
    answer = asked(http, teacher=teacher, dataset=bare)
    assert faults(answer) == [("/method/student_share", "no_completions")]
    assert "Set method.student_share and alpha to 1" in answer.json()["errors"][0]["hint"]
    assert asked(http, teacher=teacher, dataset=bare, **ALONE).status_code == 200
    finetuned = {"model": teacher, "finetune": {"epochs": 1}}
    assert faults(asked(http, teacher=finetuned, dataset=bare, **ALONE)) == [("/teacher/finetune", "no_completions")]


def test_texts_alone_leave_nothing_to_ask(http: httpx.Client, teacher: str) -> None:
    texts = upload_dataset(http, lines(*[{"text": row["prompt"]} for row in PROMPTS]))
    assert faults(asked(http, teacher=teacher, dataset=texts)) == [("/dataset/columns", "no_prompts")]


@pytest.mark.parametrize(
    "written",
    [
        {"alpha": 0.0},
        {"method": {"type": "on_policy", "student_share": 1.0}},
        {"training": {"max_length": 64}},
        {"training": {"train_on_prompt": True}},
        {"method": {"type": "on_policy", "generation": {"samples_per_prompt": 2}}},
        {"method": {"type": "on_policy", "generation": {"system_prompt": "Be brief."}}},
    ],
)
def test_what_contradicts_the_method_is_refused(
    http: httpx.Client, teacher: str, complete: str, written: dict[str, Any]
) -> None:
    answer = asked(http, teacher=teacher, dataset=complete, **written)
    assert [code for _, code in faults(answer)] == ["wrong_for_method"]


def test_raw_logits_are_not_compared_on_own_texts(http: httpx.Client, teacher: str, complete: str) -> None:
    answer = asked(http, teacher=teacher, dataset=complete, method={"type": "on_policy", "divergence": "mse"})
    assert faults(answer) == [("/method/divergence", "invalid_value")]


def test_writing_takes_time(http: httpx.Client, teacher: str, complete: str) -> None:
    def seconds(method: dict[str, Any]) -> float:
        training = {"max_steps": 100_000, "max_length": 1024}
        answer = asked(http, teacher=teacher, dataset=complete, training=training, method=method)
        assert answer.status_code == 200, answer.text
        return float(answer.json()["estimate"]["seconds"])

    short, long = ({"type": "on_policy", "generation": {"max_new_tokens": tokens}} for tokens in (32, 512))
    assert seconds({"type": "logits"}) < seconds(short) < seconds(long)
