"""Jobs on images: what cannot work is said at once, and what can is understood without being told its task."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from tests.service.live import Live
from tests.service.pictures import folders, image_model, mnist, picture, zipped_folders
from tests.service.samples import examples, finished, upload_dataset, upload_model, zipped

MLP: dict[str, Any] = {"architecture": "mlp", "hidden": [8, 8]}


def upload_images(http: httpx.Client, content: bytes | None = None) -> str:
    return upload_dataset(http, content or zipped_folders(40), "pets.zip")


def upload_image_model(http: httpx.Client, **changed: Any) -> str:
    name = f"i-{uuid4().hex[:12]}"
    files = {"file": ("model.zip", zipped(image_model(**changed)))}
    answer = http.post("/v1/models", files=files, data={"name": name})
    assert answer.status_code == 201, answer.text
    return name


@pytest.fixture(scope="module")
def pets(http: httpx.Client) -> str:
    return upload_images(http)


@pytest.fixture(scope="module")
def teacher(http: httpx.Client) -> str:
    return upload_image_model(http)


def job(dataset: Any, teacher: Any, **changes: Any) -> dict[str, Any]:
    return {"teacher": teacher, "student": {"config": MLP}, "dataset": dataset, **changes}


def accepted(http: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post("/v1/jobs?dry_run=true", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def faults(http: httpx.Client, body: dict[str, Any]) -> list[tuple[str, str]]:
    answer = http.post("/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    assert all(fault["hint"] and fault["detail"] for fault in answer.json()["errors"])
    return [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


def test_the_task_is_decided_from_the_images(http: httpx.Client, pets: str, teacher: str) -> None:
    assert accepted(http, job(pets, teacher))["spec"]["task"] == "image-classification"
    assert accepted(http, job(pets, teacher, student=teacher))["spec"]["task"] == "image-classification"
    layers = {"from_teacher": {"layers": [0, 3]}}
    assert accepted(http, job(pets, teacher, student=layers))["spec"]["student"]["from_teacher"]["layers"] == [0, 3]


def test_a_job_on_labels_alone_needs_no_teacher(http: httpx.Client, pets: str) -> None:
    found = accepted(http, job(pets, None, alpha=0.0))
    assert found["spec"]["teacher"] is None
    assert found["estimate"]["seconds"] > 0
    answer = http.post("/v1/jobs", json=job(pets, None, alpha=0.0))
    assert answer.status_code == 202
    assert answer.json()["loss"]["formula"] == "CE(label, student)"
    assert faults(http, job(pets, None)) == [("/teacher", "teacher_missing")]


def test_images_need_models_that_see_and_texts_models_that_read(http: httpx.Client, pets: str, teacher: str) -> None:
    reader = upload_model(http, labels=("cat", "dog"))
    assert faults(http, job(pets, reader)) == [("/teacher/model", "not_an_image_model")]
    assert faults(http, job(pets, teacher, student=reader)) == [("/student/model", "not_an_image_model")]
    films = upload_dataset(http)
    assert faults(http, job(films, teacher, student=teacher)) == [
        ("/teacher/model", "not_a_text_model"),
        ("/student/model", "not_a_text_model"),
    ]


def test_what_belongs_to_texts_is_refused(http: httpx.Client, pets: str, teacher: str) -> None:
    found = faults(http, job(pets, teacher, training={"max_length": 64}, method={"hidden": {}}))
    assert set(found) == {("/training/max_length", "wrong_for_task"), ("/method/hidden", "wrong_for_task")}
    films = upload_dataset(http)
    found = faults(http, job(films, upload_model(http), training={"augment": {"jitter_pixels": 1}}))
    assert set(found) == {("/training/augment", "wrong_for_task"), ("/student/config/architecture", "wrong_for_task")}


def test_columns_must_be_there_and_hold_images(http: httpx.Client, pets: str, teacher: str) -> None:
    image = {"task": "image-classification"}
    assert faults(http, job({"id": pets, "columns": {"image": "photo"}}, teacher, **image)) == [
        ("/dataset/columns/image", "missing_column")
    ]
    assert faults(http, job({"id": pets, "columns": {"image": "file"}}, teacher, **image)) == [
        ("/dataset/columns/image", "not_images")
    ]
    films = upload_dataset(http, examples(40, labels=("cat", "dog")))
    assert faults(http, job(films, teacher, **image)) == [("/dataset/columns/image", "missing_column")]


def test_labels_must_be_the_teachers(http: httpx.Client, teacher: str) -> None:
    birds = upload_images(http, zipped(folders(40, labels=("cat", "bird"))))
    assert faults(http, job(birds, teacher)) == [("/teacher/model", "labels_differ")]
    bare = upload_image_model(http, labels=None)
    assert faults(http, job(birds, bare)) == [("/teacher/finetune", "teacher_has_no_head")]
    accepted(http, job(birds, {"model": bare, "finetune": {"epochs": 1}}))
    one = upload_images(http, zipped(folders(40, labels=("cat",))))
    assert ("/dataset/columns/label", "one_class") in faults(http, job(one, teacher))


def test_a_network_on_raw_pixels_reads_images_of_one_size(http: httpx.Client, teacher: str) -> None:
    members = {**folders(40), "cat/large.png": picture(size=(9, 4))}
    mixed = upload_images(http, zipped(members))
    assert faults(http, job(mixed, teacher)) == [("/student/config", "sizes_differ")]
    accepted(http, job(mixed, teacher, student=teacher))
    large = np.zeros((600, 600))
    greymap = b"P5\n600 600\n255\n" + large.astype(np.uint8).tobytes()
    huge = upload_images(http, zipped({f"{name}/{place}.pgm": greymap for name in "ab" for place in range(9)}))
    wide = {"config": {**MLP, "hidden": [16_000]}}
    assert faults(http, job(huge, None, alpha=0.0, student=wide)) == [("/student/config/hidden", "student_too_large")]


def test_a_teacher_without_a_list_of_layers_has_none_to_copy(http: httpx.Client, pets: str) -> None:
    teacher = upload_image_model(http, model_type="pixel_mlp", num_hidden_layers=None)
    found = faults(http, job(pets, teacher, student={"from_teacher": {"layers": [0]}}))
    assert found == [("/student/from_teacher", "no_such_layer")]


def test_a_larger_network_and_a_teacher_that_looks_along_take_longer(http: httpx.Client, teacher: str) -> None:
    digits = {"id": upload_images(http, zipped(mnist(200, 100))), "columns": {"split": "split"}}
    labels = [str(digit) for digit in range(10)]
    body = job(digits, upload_image_model(http, labels=labels), training={"epochs": 1000})
    once = accepted(http, body)["estimate"]
    wider = accepted(http, {**body, "student": {"config": {**MLP, "hidden": [2000, 2000]}}})["estimate"]
    along = accepted(http, {**body, "training": {"epochs": 1000, "augment": {"jitter_pixels": 1}}})["estimate"]
    assert wider["seconds"] > once["seconds"]
    assert along["seconds"] > once["seconds"]
    assert once["disk_bytes"] < 1_000_000, "digits are small"


def test_a_model_that_looks_is_not_asked_about_texts(live: Live, pets: str, teacher: str, tmp_path: Path) -> None:
    http = live.http
    job_id = finished(live, {}, tmp_path, **job(pets, teacher))
    asked = {
        f"/v1/models/{teacher}/classify": {"texts": ["a cat"]},
        "/v1/completions": {"model": teacher, "prompt": "a cat"},
        f"/v1/jobs/{job_id}/compare": {"prompts": ["a cat"]},
    }
    found = {path: http.post(path, json=body).json()["errors"][0] for path, body in asked.items()}
    assert [fault["code"] for fault in found.values()] == ["not_a_classifier", "not_a_language_model", "wrong_for_task"]
    assert all("looks at images" in fault["detail"] and "model card" in fault["hint"] for fault in found.values())
