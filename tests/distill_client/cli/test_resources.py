"""datasets, models, secrets and keys."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from distill_client.cli.failures import CommandFailed
from distill_client.cli.keys import lifetime, state_of
from distill_client.shapes import ApiKey
from tests.distill_client.cli.conftest import Run
from tests.service.pictures import mnist
from tests.service.samples import model_files, writer_files, zipped

ROWS = [{"text": f"film {place}", "label": "good" if place % 2 else "bad"} for place in range(10)]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "films.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(file)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for name, content in model_files().items():
        (folder / name).write_bytes(content)
    return str(folder)


def test_a_datasets_life(run: Run, rows: str) -> None:
    ran = run("datasets", "upload", rows, "--name", "films")
    dataset_id = ran.out.strip()
    assert "10 examples" in ran.err
    assert dataset_id in run("datasets", "list").out
    shown = run("datasets", "show", dataset_id).out
    assert "label" in shown
    assert "good (5)" in shown
    assert run("datasets", "examples", dataset_id, "-n", "2", "--json").lines == ROWS[:2]
    assert run("datasets", "delete", dataset_id).out == f"Deleted {dataset_id}\n"
    assert run("datasets", "show", dataset_id).code == 1


def test_a_preview_shows_what_is_read_learned_and_cut(run: Run, tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"<|end|>": 0, "count": 1, "one": 2, "two": 3}, unk_token="<|end|>"))
    words.pre_tokenizer = Whitespace()
    files = {**writer_files(), "tokenizer.json": words.to_str().encode()}
    (tmp_path / "writer").mkdir()
    for name, content in files.items():
        (tmp_path / "writer" / name).write_bytes(content)
    run("models", "upload", str(tmp_path / "writer"), "--name", "counter")
    file = tmp_path / "counts.jsonl"
    file.write_text(json.dumps({"prompt": "count", "completion": "one two one two"}) + "\n")
    dataset_id = run("datasets", "upload", str(file)).out.strip()
    asked = ("datasets", "examples", dataset_id, "--tokenizer", "counter", "--max-length", "4")
    assert run(*asked).out.splitlines() == ["4 tokens, 3 learned, cut from 5", "    count", ">>> one|two|one"]
    (reading,) = run(*asked, "--json").lines
    assert reading["ids"] == [1, 2, 3, 2]
    assert reading["is_cut"]


def test_images_are_shown_for_what_they_are(run: Run, tmp_path: Path) -> None:
    (tmp_path / "digits.zip").write_bytes(zipped(mnist(20, 10)))
    dataset_id = run("datasets", "upload", str(tmp_path / "digits.zip")).out.strip()
    assert "3 x 2 pixels, grey" in run("datasets", "show", dataset_id).out
    assert "image=<image/x-portable-graymap, 3 x 2>" in run("datasets", "examples", dataset_id, "-n", "1").out


def test_a_broken_line_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text(json.dumps(ROWS[0]) + "\nnot json\n")
    ran = run("datasets", "upload", str(file))
    assert ran.code == 1
    assert "  line 2" in ran.err


def test_a_models_life(run: Run, encoder: str) -> None:
    assert run("models", "upload", encoder, "--name", "tiny").out == "tiny\n"
    assert "tiny" in run("models", "list").out
    assert "BertForSequenceClassification" in run("models", "show", "tiny").out
    (model,) = [one for one in run("models", "list", "--json").lines if one["id"] == "tiny"]
    assert model["parameters"] == 30 * 8 + 8 * 8 + 2 * 8
    there = Path(encoder).with_name("there")
    assert f"in {there}" in run("models", "download", "tiny", "--to", str(there)).out
    assert {file.name: file.read_bytes() for file in there.iterdir()}.items() >= model_files().items()
    (there / "config.json").write_text("mine")
    refused = run("models", "download", "tiny", "--to", str(there))
    assert refused.code == 1
    assert "has other files of the same names: config.json" in refused.err
    assert (there / "config.json").read_text() == "mine"
    assert run("models", "download", "tiny", "--to", str(there), "--force").code == 0
    assert (there / "config.json").read_bytes() == model_files()["config.json"]
    again = run("models", "upload", encoder, "--name", "tiny")
    assert again.code == 1
    assert "there is already a model 'tiny'" in again.err
    assert run("models", "delete", "tiny", "--json").lines == [{"id": "tiny", "deleted": True}]
    assert run("models", "show", "tiny").code == 1


def test_a_folder_that_is_not_there_is_wrong_usage(run: Run) -> None:
    assert run("models", "upload", "nowhere").code == 2


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("12h", 12), ("30d", 720)])
def test_a_lifetime_is_a_number_and_a_unit(text: str, hours: float) -> None:
    assert lifetime(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "d", "3", "-3d", "3w", "1.5h"])
def test_another_lifetime_is_refused(text: str) -> None:
    with pytest.raises(CommandFailed):
        lifetime(text)


def test_a_key_is_valid_expired_or_revoked() -> None:
    key = {"id": "key_1", "name": "a"}
    assert state_of(ApiKey.model_validate(key)) == "valid"
    assert state_of(ApiKey.model_validate({**key, "expires_at": "2020-01-01T00:00:00Z"})) == "expired"
    assert state_of(ApiKey.model_validate({**key, "revoked_at": "2020-01-01T00:00:00Z"})) == "revoked"


def test_a_secrets_life(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("secrets", "add", "vendor", stdin="sk-from-stdin\n").out == "vendor\n"
    assert "vendor" in run("secrets", "list").out
    taken = run("secrets", "add", "vendor", stdin="sk-again")
    assert taken.code == 1
    assert "there is already a secret 'vendor'" in taken.err
    monkeypatch.setenv("VENDOR_KEY", "sk-from-environment")
    replaced = run("secrets", "add", "vendor", "--from-env", "VENDOR_KEY", "--replace", "--json")
    assert [line["name"] for line in replaced.lines] == ["vendor"]
    assert not any("sk-" in ran.out + ran.err for ran in (taken, replaced, run("secrets", "list", "--json")))
    assert run("secrets", "remove", "vendor").out == "Removed vendor\n"
    assert run("secrets", "remove", "vendor").code == 1


@pytest.mark.parametrize("words", [(), ("--from-env", "NO_SUCH_VARIABLE")])
def test_a_secret_needs_a_value(run: Run, words: tuple[str, ...]) -> None:
    ran = run("secrets", "add", "empty", *words, stdin="\n")
    assert ran.code == 1
    assert run("secrets", "list", "--json").lines == []
