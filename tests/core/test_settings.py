"""Without any setting all works on one machine; with URLs the same code works on many."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from core.settings import Settings


def test_everything_has_a_default_in_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    folder = tmp_path / "distill-data"
    assert make_url(settings.database).database == str(folder / "distill.sqlite3")
    assert settings.storage == (folder / "blobs").as_uri()
    assert settings.work == folder / "work"
    assert settings.broker.startswith("redis://127.0.0.1")
    assert not folder.exists(), "reading settings makes nothing"


def test_the_environment_is_read_under_one_prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISTILL_DATA", str(tmp_path))
    monkeypatch.setenv("DISTILL_DATABASE_URL", "postgresql+psycopg://u:p@db/distill")
    monkeypatch.setenv("DISTILL_STORAGE_URL", "s3://bucket/prefix")
    monkeypatch.setenv("DISTILL_PORT", "9000")
    monkeypatch.setenv("PORT", "1")
    settings = Settings()
    assert (settings.database, settings.storage) == ("postgresql+psycopg://u:p@db/distill", "s3://bucket/prefix")
    assert settings.port == 9000


def test_a_secret_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "BOOTSTRAP_KEY"):
        monkeypatch.setenv(f"DISTILL_{name}", f"redis://:hunter2@{name}")
    assert "hunter2" not in f"{Settings()!r} {Settings()} {Settings().model_dump_json()}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE_SECONDS", "0"),
        ("MAX_ATTEMPTS", "0"),
        ("PORT", "65536"),
        ("HUB", "perhaps"),
        ("VLLM_OPTIONS", "tensor_parallel_size=2"),
        ("VLLM_OPTIONS", "[2]"),
    ],
)
def test_a_setting_that_cannot_work_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DISTILL_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("written", "options"), [("", {}), ('{"tensor_parallel_size": 2}', {"tensor_parallel_size": 2})]
)
def test_what_vllm_is_told_is_json(monkeypatch: pytest.MonkeyPatch, written: str, options: dict[str, int]) -> None:
    monkeypatch.setenv("DISTILL_VLLM_OPTIONS", written)
    assert Settings().vllm_options == options


def test_a_name_with_a_duration_or_a_size_says_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation is float:
            assert name.endswith("_seconds"), name
        if field.annotation is int and isinstance(field.default, int) and field.default >= 1 << 16:
            assert name.endswith("_bytes"), name


def test_every_setting_says_what_it_is_for() -> None:
    undescribed = [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")]
    assert undescribed == []


@pytest.mark.parametrize("key", ["", "short", "not base64!", f"{'A' * 43}=,short"])
def test_a_key_that_cannot_encrypt_stops_the_start_without_being_shown(key: str) -> None:
    with pytest.raises(ValidationError, match="secret_key") as refused:
        Settings(secret_key=key)
    assert not key or key not in str(refused.value)
