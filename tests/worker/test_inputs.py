"""A job trains from what it was accepted with, or says what is gone."""

import json
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from core.blobs import CHUNK_BYTES, Blobs, sha256_of
from core.database import Database
from core.errors import BlobDamaged, HubUnavailable, InputGone
from core.leases import Lease
from core.models import Models
from core.settings import Settings
from core.spec import JobSpec
from core.tables import Model
from tests.worker.conftest import OWNER, SMALLEST
from worker.inputs import Gathered, sha256_of_files, sha256_of_folder
from worker.patience import Moved, unheard

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def stored_model(database: Database, blobs: Blobs, tmp_path: Path) -> Model:
    folder = tmp_path / "uploaded"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    files = []
    for path in folder.iterdir():
        stored = blobs.put(f"models/model_1/{path.name}", path)
        files.append({"path": path.name, "bytes": stored.bytes, "sha256": stored.sha256, "blob_key": stored.key})
    model = Model(
        id="model_1",
        owner=OWNER,
        name="teacher",
        source="uploaded",
        architecture="BertModel",
        parameters=1,
        embedding_parameters=0,
        bytes=7,
        sha256=sha256_of_folder(folder),
        files=files,
    )
    with database.write() as session:
        Models(session, OWNER).add(model)
        session.commit()
    return model


def gather(
    database: Database,
    blobs: Blobs,
    settings: Settings,
    tmp_path: Path,
    owner: str = OWNER,
    moved: Moved = unheard,
) -> Gathered:
    return Gathered(database, blobs, settings, Lease("job_1", "ours", "worker-a", 60), owner, tmp_path / "work", moved)


def test_a_model_comes_whole_and_its_hash_goes_into_the_manifest(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path, stored_model: Model
) -> None:
    gathered = gather(database, blobs, settings, tmp_path)
    folder = gathered.model("teacher-0", "teacher", None)
    assert sha256_of_folder(folder) == stored_model.sha256
    assert gathered.provenance["teacher-0"] == {"reference": "teacher", "sha256": stored_model.sha256}
    assert "torch" in gathered.provenance["versions"]


def test_another_owners_model_is_gone(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path, stored_model: Model
) -> None:
    with pytest.raises(InputGone, match="no model 'teacher'"):
        gather(database, blobs, settings, tmp_path, owner="another").model("teacher-0", "teacher", None)


def test_a_changed_weight_is_never_trained_from(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path, stored_model: Model
) -> None:
    (tmp_path / "other").write_bytes(b"weighty")
    blobs.put("models/model_1/model.safetensors", tmp_path / "other")
    with pytest.raises(BlobDamaged):
        gather(database, blobs, settings, tmp_path).model("teacher-0", "teacher", None)


def test_a_data_set_that_is_gone_is_said(database: Database, blobs: Blobs, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputGone, match="no data set 'ds_1'"):
        gather(database, blobs, settings, tmp_path).dataset(JobSpec.model_validate(SMALLEST))


def test_a_hub_that_is_turned_off_is_not_asked(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path
) -> None:
    without_hub = settings.model_copy(update={"hub": False})
    with pytest.raises(HubUnavailable, match="turned the hub off"):
        gather(database, blobs, without_hub, tmp_path).model("teacher-0", "org/name", None)


def test_the_identity_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    expected = sha256_of_files({"a": sha256_of(tmp_path / "a"), "inner/b": sha256_of(tmp_path / "inner" / "b")})
    assert sha256_of_folder(tmp_path) == expected
    (tmp_path / "a").rename(tmp_path / "c")
    assert sha256_of_folder(tmp_path) != expected


def test_a_large_file_tells_that_it_still_comes(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path, stored_model: Model
) -> None:
    (tmp_path / "weights").write_bytes(bytes(4 * CHUNK_BYTES))
    stored = blobs.put("models/model_1/large.safetensors", tmp_path / "weights")
    large = {"path": "large.safetensors", "bytes": stored.bytes, "sha256": stored.sha256, "blob_key": stored.key}
    with database.write() as session:
        session.get_one(Model, "model_1").files = [large]
        session.commit()
    heard: list[float] = []
    gather(database, blobs, settings, tmp_path, moved=lambda: heard.append(time.monotonic())).model(
        "t", "teacher", None
    )
    assert len(heard) >= 4


def test_a_storage_that_is_away_for_a_while_is_waited_for(
    database: Database,
    blobs: Blobs,
    settings: Settings,
    tmp_path: Path,
    stored_model: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(str(blobs.store.prefix))
    moved = folder.with_name("away")
    folder.rename(moved)
    folder.write_text("no folder")

    def back(_: float) -> None:
        if moved.exists():
            folder.unlink()
            moved.rename(folder)

    monkeypatch.setattr(time, "sleep", back)
    model = gather(database, blobs, settings, tmp_path).model("teacher-0", "teacher", None)
    assert sha256_of_folder(model) == stored_model.sha256


@pytest.mark.databases("postgresql")
def test_a_database_that_is_away_for_a_while_is_waited_for(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path, stored_model: Model, postgres: str
) -> None:
    admin, name = create_engine(postgres, isolation_level="AUTOCOMMIT"), database.url.database

    def allow(word: str) -> None:
        with admin.connect() as connection:
            connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {word}'))
            drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(text(drop), {"name": name})

    allow("false")
    back = threading.Timer(1.5, allow, ["true"])
    back.start()
    model = gather(database, blobs, settings, tmp_path).model("teacher-0", "teacher", None)
    back.join()
    admin.dispose()
    assert sha256_of_folder(model) == stored_model.sha256
