"""What is sealed opens with its key, in its place, and nowhere else."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from core.errors import SecretsUnavailable, SecretUnreadable
from core.sealing import KEY_FILE, Seal, seal_of
from core.settings import Settings

ONE, OTHER = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_a_value_comes_back_and_its_seal_shows_nothing_of_it() -> None:
    seal = Seal([ONE])
    sealed = seal.sealed("me", "vendor", "sk-value")
    assert seal.opened("me", "vendor", sealed) == "sk-value"
    assert "sk-value" not in sealed
    assert sealed != seal.sealed("me", "vendor", "sk-value"), "equal values do not look equal"


@pytest.mark.parametrize(("owner", "name"), [("you", "vendor"), ("me", "other")])
def test_a_sealed_value_that_was_moved_to_another_row_does_not_open(owner: str, name: str) -> None:
    seal = Seal([ONE])
    with pytest.raises(SecretUnreadable, match="another owner or name"):
        seal.opened(owner, name, seal.sealed("me", "vendor", "sk-value"))


def test_a_key_is_changed_by_writing_the_later_one_in_front() -> None:
    before = Seal([ONE]).sealed("me", "vendor", "sk-value")
    assert Seal([OTHER, ONE]).opened("me", "vendor", before) == "sk-value"
    after = Seal([OTHER, ONE]).sealed("me", "vendor", "sk-value")
    assert Seal([OTHER]).opened("me", "vendor", after) == "sk-value"
    with pytest.raises(SecretUnreadable, match="key that is not set"):
        Seal([OTHER]).opened("me", "vendor", before)


def test_a_digest_depends_on_the_key() -> None:
    assert Seal([ONE]).digest("text") == Seal([ONE]).digest("text") != Seal([OTHER]).digest("text")


def test_one_machine_makes_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    with ThreadPoolExecutor(4) as pool:
        seals = list(pool.map(lambda _: seal_of(settings, makes_key=True), range(8)))
    sealed = seals[0].sealed("me", "vendor", "sk-value")
    assert {seal.opened("me", "vendor", sealed) for seal in [*seals, seal_of(settings)]} == {"sk-value"}
    assert [path.name for path in settings.data.iterdir()] == [KEY_FILE]
    assert stat.S_IMODE((settings.data / KEY_FILE).stat().st_mode) == 0o600


def test_a_key_is_not_made_where_only_one_machine_would_know_it(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url="postgresql+psycopg://elsewhere/distill")
    with pytest.raises(SecretsUnavailable, match="DISTILL_SECRET_KEY"):
        seal_of(settings, makes_key=True)
    assert list(tmp_path.iterdir()) == []
    with_key = settings.model_copy(update={"secret_key": Settings(secret_key=ONE).secret_key})
    assert seal_of(with_key).opened("me", "a", Seal([ONE]).sealed("me", "a", "value")) == "value"


def test_who_only_reads_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(SecretsUnavailable):
        seal_of(Settings(data=tmp_path))
    assert list(tmp_path.iterdir()) == []
