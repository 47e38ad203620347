import json
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire import JobError
from distill_client.cli.failures import CommandFailed
from distill_client.cli.submit import read_spec
from tests.distill_client.cli.conftest import Run
from tests.distill_client.live import Live
from tests.service.samples import upload_model


@pytest.fixture
def dataset(live: Live, tmp_path: Path) -> str:
    file = tmp_path / "reviews.jsonl"
    file.write_text('{"text": "good", "label": "positive"}\n{"text": "bad", "label": "negative"}\n' * 10)
    with live.client() as client:
        return client.datasets.upload(file).id


def test_flags_lie_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"teacher": "a", "T": 4.0, "training": {"epochs": 3, "seed": 1}}))
    spec = read_spec(str(file), {"T": 2.0}, ["training.epochs=5", "training.scheduler=cosine", "labels.team=nlp"])
    assert spec == {
        "teacher": "a",
        "T": 2.0,
        "training": {"epochs": 5, "seed": 1, "scheduler": "cosine"},
        "labels": {"team": "nlp"},
    }


def test_a_name_becomes_an_object_when_a_part_of_it_is_set() -> None:
    spec = read_spec(None, {"teacher": "a", "dataset": "ds_1"}, ["teacher.finetune.epochs=2", "dataset.test=0.2"])
    assert spec == {"teacher": {"model": "a", "finetune": {"epochs": 2}}, "dataset": {"id": "ds_1", "test": 0.2}}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_json_can_be_set(value: object) -> None:
    assert read_spec(None, {}, [f"a.b={json.dumps(value)}"]) == {"a": {"b": value}}


@pytest.mark.parametrize("setting", ["epochs", "=1", "a..b=1", ".a=1"])
def test_a_setting_without_path_or_value_is_refused(setting: str) -> None:
    with pytest.raises(CommandFailed, match="PATH=VALUE"):
        read_spec(None, {"teacher": "a"}, [setting])


def test_a_file_that_is_no_json_is_said_with_its_place(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text('{"teacher": \n oops}')
    ran = run("submit", str(file))
    assert ran.code == 1
    assert "line 2 column 2" in ran.err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_spec_is_read_as_any_shell_writes_it(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "job.json"
    file.write_bytes('{"name": "Größe"}'.encode(encoding))
    assert read_spec(str(file), {}, []) == {"name": "Größe"}


def test_a_file_in_other_characters_is_said(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_bytes('{"name": "Größe"}'.encode("latin-1"))
    ran = run("submit", str(file))
    assert ran.code == 1
    assert "neither UTF-8 nor UTF-16" in ran.err


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "[1, NaN]"])
def test_a_number_that_json_has_not_is_refused(run: Run, tmp_path: Path, number: str) -> None:
    (tmp_path / "job.json").write_text(f'{{"T": {number}}}')
    for words in (["validate", "--teacher", "a", "--set", f"T={number}"], ["validate", str(tmp_path / "job.json")]):
        ran = run(*words)
        assert ran.code == 1
        assert "is no number of JSON" in ran.err


def test_a_character_that_no_text_can_carry_is_said(run: Run) -> None:
    ran = run("validate", "-", stdin='{"name": "\\ud800"}')
    assert ran.code == 1
    assert ran.err.startswith("error: ")


def test_a_file_that_is_not_there_is_said(run: Run) -> None:
    assert "there is no file nowhere.json" in run("submit", "nowhere.json").err


def test_validate_reads_stdin_and_names_what_is_wrong(run: Run, dataset: str) -> None:
    spec = json.dumps({"teacher": "nobody", "student": {"config": {"model_type": "bert"}}, "dataset": dataset})
    ran = run("validate", "-", stdin=spec)
    assert ran.code == 1
    assert "/teacher/model: no model 'nobody'" in ran.err


@pytest.fixture
def flags(live: Live, dataset: str) -> list[str]:
    with live.client() as client:
        teacher = upload_model(client.transport.http, ["negative", "positive"])
    student = json.dumps({"from_teacher": {"layers": [0, 3]}})
    return ["--teacher", teacher, "--student", student, "--dataset", dataset]


def test_submit_writes_the_id_and_nothing_else(run: Run, flags: list[str]) -> None:
    ran = run("submit", *flags, "--T", "3", "--alpha", "0.25", "--name", "from flags", "--set", "training.seed=7")
    assert ran.code == 0, ran.err
    assert re.fullmatch(r"job_\w+\n", ran.out)
    assert f"distill watch {ran.out.strip()}" in ran.err
    (job,) = run("show", ran.out.strip(), "--json").lines
    assert (job["name"], job["spec"]["T"], job["spec"]["alpha"]) == ("from flags", 3.0, 0.25)
    assert job["spec"]["training"]["seed"] == 7


def test_validate_shows_every_default_and_stores_nothing(run: Run, flags: list[str]) -> None:
    before = len(run("list", "--json", "-n", "1000").lines)
    ran = run("validate", *flags)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["training"]["scheduler"] == "linear"
    assert ran.err.startswith("Valid. About ")
    assert run("validate", *flags, "--json").lines[0]["spec"]["T"] == 2.0
    assert len(run("list", "--json", "-n", "1000").lines) == before


def test_submit_and_wait_ends_as_the_job_does(run: Run, live: Live, flags: list[str]) -> None:
    def fail_it() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with live.client() as client:
                job = next(client.jobs.list(q="waited for"), None)
            if job is not None:
                live.worker(job.id).fail(JobError(code="disk_full", message="no space left", hint="Make some."))
                return
            time.sleep(0.05)

    worker = threading.Thread(target=fail_it)
    worker.start()
    ran = run("submit", *flags, "--name", "waited for", "--wait")
    worker.join()
    assert ran.code == 1
    assert "disk_full: no space left" in ran.out
