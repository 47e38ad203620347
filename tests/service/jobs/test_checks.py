"""Bad jobs never reach a worker: each fault is found before anything is stored, with its place and what to do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.labels import Labels
from tests.service.live import Live, running_service
from tests.service.samples import examples, finished, spec, submit, upload_dataset, upload_model
from worker.training.labels import places_among


def faults(http: httpx.Client, **changes: Any) -> list[tuple[str, str]]:
    answer = http.post("/v1/jobs", json=spec(http, **changes))
    assert answer.status_code == 422, answer.text
    assert all(fault["hint"] and fault["detail"] for fault in answer.json()["errors"])
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_what_is_not_there_is_named(http: httpx.Client) -> None:
    assert faults(http, teacher="nobody") == [("/teacher/model", "model_not_found")]
    assert faults(http, teacher=["nobody", "noone"]) == [
        ("/teacher/0/model", "model_not_found"),
        ("/teacher/1/model", "model_not_found"),
    ]
    assert faults(http, student="nobody") == [("/student/model", "model_not_found")]
    assert faults(http, dataset="ds_x") == [("/dataset/id", "dataset_not_found")]


def test_all_faults_come_at_once(http: httpx.Client) -> None:
    found = faults(http, teacher="nobody", student="noone", dataset="ds_x")
    assert {pointer for pointer, _ in found} == {"/teacher/model", "/student/model", "/dataset/id"}


def test_a_job_that_has_not_finished_is_no_teacher(live: Live, tmp_path: Path) -> None:
    waiting = submit(live.http)
    assert faults(live.http, teacher=waiting) == [("/teacher/model", "model_not_found")]
    done = finished(live, {"config.json": b"{}"}, tmp_path)
    assert live.http.post("/v1/jobs", json=spec(live.http, teacher=done)).status_code == 202


def test_columns_must_be_there_and_hold_what_they_should(http: httpx.Client) -> None:
    dataset = upload_dataset(http, lines({"body": "a", "label": "x", "n": 1}, {"body": "b", "label": "y", "n": 2}))
    assert ("/dataset/columns/text", "missing_column") in faults(http, dataset=dataset)
    named = {"id": dataset, "columns": {"text": "n"}}
    assert ("/dataset/columns/text", "not_text") in faults(http, dataset=named)
    named = {"id": dataset, "columns": {"text": "body", "text_pair": "c", "label": "d", "split": "e"}}
    pointers = {pointer for pointer, code in faults(http, dataset=named) if code == "missing_column"}
    assert pointers == {f"/dataset/columns/{role}" for role in ("text_pair", "label", "split")}


def test_labels_must_be_two_or_more_and_not_too_many(http: httpx.Client) -> None:
    same = upload_dataset(http, examples(labels=["positive"]))
    assert faults(http, dataset=same) == [("/dataset/columns/label", "one_class")]
    many = upload_dataset(http, examples(1200, labels=[f"l{n}" for n in range(1200)]))
    codes = [code for _, code in faults(http, dataset=many)]
    assert codes == ["too_many_labels"]
    lists = upload_dataset(http, lines(*[{"text": f"t{n}", "label": ["a", "b"]} for n in range(40)]))
    assert faults(http, dataset=lists) == [("/dataset/columns/label", "not_a_label")]
    none = upload_dataset(http, lines(*[{"text": f"t{n}", "label": None} for n in range(40)]))
    assert ("/dataset/columns/label", "no_labels") in faults(http, dataset=none)


def test_shares_must_leave_something_to_measure_and_to_train_on(http: httpx.Client) -> None:
    dataset = upload_dataset(http)
    assert faults(http, dataset={"id": dataset, "test": 0.0, "validation": 0.0}) == [
        ("/dataset/test", "nothing_held_out")
    ]
    few = upload_dataset(http, examples(2))
    assert faults(http, dataset=few) == [("/dataset", "too_few_examples")]


def test_a_split_column_may_only_name_parts(http: httpx.Client) -> None:
    rows = [{"text": f"t{n}", "label": str(n % 2), "part": "train" if n else "holdout"} for n in range(40)]
    named = {"id": upload_dataset(http, lines(*rows)), "columns": {"split": "part"}}
    assert faults(http, dataset=named) == [("/dataset/columns/split", "unknown_part")]


def test_a_bare_teacher_needs_finetuning(http: httpx.Client) -> None:
    bare = upload_model(http, labels=None)
    assert faults(http, teacher=bare) == [("/teacher/finetune", "teacher_has_no_head")]
    tuned = {"model": bare, "finetune": {}}
    assert http.post("/v1/jobs", json=spec(http, teacher=tuned)).status_code == 202


def test_a_teacher_must_know_the_labels(http: httpx.Client) -> None:
    other = upload_model(http, labels=["spam", "ham"])
    assert faults(http, teacher=other) == [("/teacher/model", "labels_differ")]
    assert http.post("/v1/jobs", json=spec(http, teacher={"model": other, "finetune": {}})).status_code == 202
    mixed = [upload_model(http), {"model": other, "weight": 2.0}]
    assert faults(http, teacher=mixed) == [("/teacher/1/model", "labels_differ")]


@pytest.mark.parametrize("labels", [["NEGATIVE", "Positive"], ["0", "1"], [0, 1]])
def test_labels_match_in_any_case_or_as_indices(http: httpx.Client, labels: list[Any]) -> None:
    rows = [{"text": f"t{n}", "label": labels[n % 2]} for n in range(40)]
    dataset = upload_dataset(http, lines(*rows))
    assert http.post("/v1/jobs", json=spec(http, dataset=dataset)).status_code == 202


NAMES = st.sampled_from(["a", "A", "b", "B", "0", "1", "2", "-1", "ß", "SS"])


@given(st.lists(NAMES, min_size=1, unique=True), st.lists(NAMES, min_size=1))
def test_the_rule_for_labels_is_training_s_own(names: Sequence[str], classes: Sequence[str]) -> None:
    lacking = Labels("label", list(names), 10, 10).lacking_in(classes)
    assert (lacking == []) == (places_among(names, classes) is not None)


def test_copied_layers_must_exist(http: httpx.Client) -> None:
    student = {"from_teacher": {"layers": [0, 4]}}
    assert faults(http, student=student) == [("/student/from_teacher/layers/1", "no_such_layer")]
    student = {"from_teacher": {"layers": [0, 3]}}
    assert http.post("/v1/jobs", json=spec(http, student=student)).status_code == 202


def test_an_output_name_must_be_free(http: httpx.Client) -> None:
    taken = upload_model(http)
    assert faults(http, output={"model": taken}) == [("/output/model", "model_name_taken")]


def test_a_hub_is_asked_only_where_the_operator_allows_it(http: httpx.Client, tmp_path: Path) -> None:
    wanted = {"teacher": {"model": "org/teacher", "finetune": {}}, "student": "org/student", "dataset": "org/data"}
    assert http.post("/v1/jobs?dry_run=true", json=wanted).status_code == 200
    with running_service(tmp_path, hub=False) as live:
        answer = live.http.post("/v1/jobs?dry_run=true", json=wanted)
        assert answer.status_code == 422
        found = {(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]}
        assert found == {(f"/{part}", "hub_off") for part in ("teacher/model", "student/model", "dataset/id")}


def test_a_model_in_use_by_a_job_stays(http: httpx.Client) -> None:
    written = spec(http)
    assert http.post("/v1/jobs", json=written).status_code == 202
    for part in ("teacher", "student"):
        assert http.delete(f"/v1/models/{written[part]}").json()["code"] == "model_in_use"
