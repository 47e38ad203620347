"""The doctor, and keys: on a service of their own, since both change what everybody sees."""

from collections.abc import Iterator

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from core.clock import database_now
from core.tables import Worker
from distill_client.cli import app
from tests.distill_client.cli.conftest import Ran
from tests.distill_client.live import Live, live_service


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_service(tmp_path_factory.mktemp("doctor")) as live:
        with live.database.write() as session:
            session.add(Worker(name="w-1", queues=["default"], devices=[{"type": "cpu"}], versions={}, job_id=None))
            session.commit()
        yield live


def run(live: Live, *words: str) -> Ran:
    result = CliRunner().invoke(app, ["--url", live.url, *words])
    return Ran(result.exit_code, result.stdout, result.stderr)


def findings(live: Live, *words: str) -> dict[str, dict[str, object]]:
    return {line["name"]: line for line in run(live, "doctor", "--json", *words).lines}


def test_what_is_well_and_what_is_not_is_told_apart(own: Live) -> None:
    found = findings(own)
    assert [name for name, one in found.items() if not one["is_well"]] == ["broker"]
    assert "DISTILL_BROKER_URL" in str(found["broker"]["advice"])
    assert "w-1 on cpu" in str(found["worker"]["detail"])
    assert run(own, "doctor").code == 1


def test_deep_finds_the_file_that_changed(own: Live) -> None:
    job_id = own.finished_job()
    assert findings(own, "--deep")["artifacts"]["is_well"] is True
    weights = own.folder / "blobs" / "jobs" / job_id / "artifacts" / "model.safetensors"
    weights.write_bytes(b"X" + weights.read_bytes()[1:])
    found = findings(own, "--deep")
    assert found["artifacts"]["is_well"] is False
    assert f"{job_id}/model.safetensors" in str(found["artifact"]["detail"])


def test_a_silent_worker_is_no_worker(own: Live) -> None:
    with own.database.write() as session:
        session.execute(update(Worker).values(heartbeat_at=database_now(-300)))
        session.commit()
    found = findings(own)
    assert found["worker"]["is_well"] is False
    assert found["workers"]["is_well"] is False
    assert "distill up" in str(found["workers"]["advice"])


def test_keys_once_made_are_needed(own: Live) -> None:
    made = run(own, "keys", "create", "ci", "--scope", "admin", "--expires-in", "1d")
    secret = made.out.strip()
    assert secret.startswith("dk_")
    refused = run(own, "list")
    assert refused.code == 1
    assert "DISTILL_API_KEY" in refused.err or "key" in refused.err
    assert findings(own)["access"]["is_well"] is False
    listed = run(own, "--api-key", secret, "keys", "list")
    assert "ci" in listed.out
    assert secret not in listed.out
    key_id = listed.out.splitlines()[1].split()[0]
    assert run(own, "--api-key", secret, "keys", "revoke", key_id).code == 0
    assert run(own, "--api-key", secret, "list").code == 1
