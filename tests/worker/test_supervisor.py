"""A child ends in every way that there is; the row says how."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from cryptography.fernet import Fernet

from core.blobs import Blobs
from core.database import Database
from core.jobs import Jobs
from core.sealing import seal_of
from core.secrets import Secrets
from core.settings import Settings
from core.spec import JobSpec
from tests.worker.conftest import OWNER, SMALLEST, MakeJob, job_row
from worker import job_log
from worker.children import Children
from worker.job_log import JobLog, log_key
from worker.supervisor import Supervisor, secret_of

# Which database it is does not matter here; tests/core tries every write on both.
pytestmark = pytest.mark.databases("sqlite")

CHILD = """
import json, os, signal, sys, time
from core.database import Database
from core.leases import Lease, claim
from core.settings import Settings
order = json.loads(sys.stdin.readline())
database = Database(Settings().database)
with database.write() as session:
    if claim(session, Lease(order["job"], order["token"], order["worker"], 30)) is None:
        sys.exit(75)
    session.commit()
print("training well", flush=True)
"""


@pytest.fixture
def supervise(tmp_path: Path, settings: Settings, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A supervisor whose children claim as worker/run does and then do as the test says."""
    monkeypatch.setenv("DISTILL_DATABASE_URL", settings.database)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))

    def make(then: str, **changed: object) -> Supervisor:
        script = tmp_path / "child.py"
        script.write_text(CHILD + then)
        chosen = settings.model_copy(update=changed)
        return Supervisor(database, blobs, chosen, "worker-a", Children((sys.executable, str(script))))

    return make


@pytest.mark.parametrize(
    ("then", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("os._exit(3)", "exit code 3"),
        ("raise SystemExit(0)", "exit code 0"),
    ],
)
def test_a_child_that_dies_of_itself_fails_its_job_with_how_and_its_last_lines(
    supervise, queued: MakeJob, database: Database, then: str, how: str
) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    assert supervise(then).run(job.id)
    row = job_row(database, job.id)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "training_killed"
    assert how in row.error["message"]
    assert "training well" in row.error["message"]


def test_a_child_killed_from_outside_is_queued_again_until_its_attempts_are_over(
    supervise, queued: MakeJob, database: Database
) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    supervisor = supervise("os.kill(os.getpid(), signal.SIGKILL)")
    supervisor.run(job.id)
    row = job_row(database, job.id)
    assert (row.status, row.attempt, row.published_at) == ("queued", 2, None)
    assert "SIGKILL" in row.warnings[0]
    supervisor.run(job.id)
    row = job_row(database, job.id)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "worker_lost"
    assert "SIGKILL" in row.error["message"]


def test_what_a_killed_child_left_in_its_own_folder_goes_and_another_attempts_stays(
    supervise, queued: MakeJob, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DISTILL_DATA", str(settings.data))
    supervisor = supervise(
        """
from core.wire import Order
work = Settings().work
(work / Order.model_validate(order).folder).mkdir(parents=True)
(work / f"{order['job']}-another").mkdir()
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    job = queued()
    supervisor.run(job.id)
    assert [folder.name for folder in settings.work.glob("job_*")] == [f"{job.id}-another"]


def test_a_cancelled_child_that_does_not_listen_is_killed_and_the_job_is_cancelled(
    supervise, queued: MakeJob, database: Database
) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    supervisor = supervise("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)", cancel_grace_seconds=0.5)
    running = threading.Thread(target=supervisor.run, args=(job.id,))
    running.start()
    wait_for_status(database, job.id, "running")
    with database.write() as session:
        Jobs(session, OWNER).cancel(job.id)
        session.commit()
    running.join(60)
    assert not running.is_alive()
    assert job_row(database, job.id).status == "cancelled"


def test_a_pausing_child_has_all_the_time_that_its_step_takes_and_a_cancel_ends_it(
    supervise, queued: MakeJob, database: Database
) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    supervisor = supervise("time.sleep(600)", cancel_grace_seconds=0.5, shutdown_grace_seconds=0.5)
    running = threading.Thread(target=supervisor.run, args=(job.id,))
    running.start()
    wait_for_status(database, job.id, "running")
    ask(database, job.id, "pause")
    running.join(3)
    assert running.is_alive()
    assert job_row(database, job.id).status == "pausing"
    ask(database, job.id, "cancel")
    running.join(60)
    assert not running.is_alive()
    assert job_row(database, job.id).status == "cancelled"


def ask(database: Database, job_id: str, verb: str) -> None:
    with database.write() as session:
        getattr(Jobs(session, OWNER), verb)(job_id)
        session.commit()


def test_a_child_dies_with_all_that_it_started(supervise, queued: MakeJob, database: Database, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    note = tmp_path / "pid"
    supervise(
        "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\nos._exit(1)"
    ).run(job.id)
    grandchild = int(note.read_text())
    deadline = time.monotonic() + 60
    while is_running(grandchild):  # a kill takes effect when the kernel comes to it
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopping_worker_tells_its_child_to_stop(supervise, queued: MakeJob, database: Database) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    supervisor = supervise("time.sleep(60)")
    running = threading.Thread(target=supervisor.run, args=(job.id,))
    running.start()
    wait_for_status(database, job.id, "running")
    supervisor.should_stop.set()
    running.join(60)
    row = job_row(database, job.id)
    assert (row.status, row.attempt) == ("queued", 2), "a child ended by SIGTERM leaves its job to the next worker"


def test_a_job_that_another_worker_has_is_left_alone(supervise, queued: MakeJob, database: Database) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    with database.write() as session:
        Jobs(session, OWNER).cancel(job.id)
        session.commit()
    assert not supervise("time.sleep(60)").run(job.id)
    assert job_row(database, job.id).status == "cancelled"


def test_a_flood_of_log_lines_is_bounded_and_its_end_is_kept(
    supervise, queued: MakeJob, blobs: Blobs, settings: Settings
) -> None:  # type: ignore[no-untyped-def]
    job = queued()
    supervise("for i in range(200_000): print('line', i)\nos._exit(1)", max_log_bytes=10_000).run(job.id)
    size = blobs.size(log_key(job.id))
    assert 10_000 <= size <= 20_000
    assert blobs.read(log_key(job.id), 0, size).endswith(b"line 199999\n")


def test_a_child_is_settled_while_its_log_has_no_place(
    supervise, queued: MakeJob, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(job_log, "UPLOAD_SECONDS", 0.05)
    job = queued()
    folder = Path(str(blobs.store.prefix))
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    assert supervise("time.sleep(0.5)\nos._exit(3)").run(job.id)
    row = job_row(database, job.id)
    assert row.status == "failed"
    assert row.error is not None
    assert "training well" in row.error["message"]


@pytest.mark.parametrize("place", ["storage", "work folder"])
def test_a_log_waits_for_its_place_and_keeps_that_of_earlier_attempts(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(job_log, "UPLOAD_SECONDS", 0.05)
    (tmp_path / "earlier").write_text("attempt 1\n")
    blobs.put(log_key("job_1"), tmp_path / "earlier")
    folder = Path(str(blobs.store.prefix)) if place == "storage" else tmp_path / "work"
    folder.mkdir(exist_ok=True)
    away = folder.rename(folder.with_name("away"))
    link = folder.with_name("link")
    link.symlink_to(away)
    folder.write_text("no folder")
    reads, writes = os.pipe()
    kept = JobLog(os.fdopen(reads, "rb"), blobs, "job_1", tmp_path / "work", 10_000)
    os.write(writes, b"attempt 2\n")
    time.sleep(0.3)
    link.replace(folder)
    deadline = time.monotonic() + 60
    while blobs.size(log_key("job_1")) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.close(writes)
    kept.close()
    assert blobs.read(log_key("job_1"), 0, blobs.size(log_key("job_1"))) == b"attempt 1\nattempt 2\n"


def test_the_child_ends_when_its_worker_does(queued: MakeJob, settings: Settings, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    watcher = tmp_path / "watcher.py"
    watcher.write_text(
        "import threading, time, worker.run\n"
        "threading.Thread(target=worker.run._die_with_parent).start()\ntime.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, str(watcher)], stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    time.sleep(0.5)
    assert child.poll() is None
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(60) == 1


@pytest.mark.parametrize(
    ("teacher", "secret"),
    [
        (None, None),
        ({"model": "minilm", "endpoint": None}, None),
        ([{"model": "a"}, {"model": "b"}], None),
        ({"endpoint": {"secret": "vendor"}}, "vendor"),
        ({"endpoint": {}}, None),
    ],
)
def test_a_secret_is_found_where_a_teacher_names_one(teacher: object, secret: str | None) -> None:
    assert secret_of({"teacher": teacher}) == secret


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_status(database: Database, job_id: str, status: str) -> None:
    deadline = time.monotonic() + 60
    while job_row(database, job_id).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def seals(settings: Settings) -> Settings:
    key = Settings(secret_key=Fernet.generate_key().decode()).secret_key
    return settings.model_copy(update={"secret_key": key})


def add_job_with_secret(database: Database, spec_of_secret: str) -> str:
    """Store a job whose teacher is behind an endpoint, as a row."""
    with database.write() as session:
        job = Jobs(session, OWNER).add(JobSpec.model_validate(SMALLEST))
        endpoint = {"base_url": "http://127.0.0.1:1/v1", "model": "m", "secret": spec_of_secret}
        job.spec = {**job.spec, "teacher": {"endpoint": endpoint}}
        session.commit()
        return job.id


TELL = """
print("secrets", order["secrets"], "withheld", order["withheld"], flush=True)
print("environment", "DISTILL_SECRET_KEY" in os.environ, flush=True)
print("words", open(f"/proc/{os.getpid()}/cmdline").read().split(chr(0)), dict(os.environ), flush=True)
os._exit(1)
"""


def test_a_secret_passes_the_wall_through_stdin_alone(
    supervise, settings: Settings, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    sealing = seals(settings)
    monkeypatch.setenv("DISTILL_SECRET_KEY", sealing.secret_keys[0])
    with database.write() as session:
        Secrets(session, OWNER).add(seal_of(sealing), "vendor", "sk-live-value")
        session.commit()
    job_id = add_job_with_secret(database, "vendor")
    supervise(TELL, secret_key=sealing.secret_key).run(job_id)
    said = blobs.read(log_key(job_id), 0, blobs.size(log_key(job_id))).decode()
    lines = {line.partition(" ")[0]: line for line in said.splitlines()}
    assert lines["secrets"] == "secrets {'vendor': 'sk-live-value'} withheld {}"
    assert lines["environment"] == "environment False"
    assert "sk-live-value" not in lines["words"]


@pytest.mark.parametrize(("name", "why"), [("other", "it was removed"), ("vendor", "key that is not set")])
def test_a_secret_that_cannot_be_read_is_withheld_with_its_reason(
    supervise, settings: Settings, database: Database, blobs: Blobs, name: str, why: str
) -> None:  # type: ignore[no-untyped-def]
    with database.write() as session:
        Secrets(session, OWNER).add(seal_of(seals(settings)), "vendor", "sk-live-value")
        session.commit()
    job_id = add_job_with_secret(database, name)
    supervise(TELL, secret_key=seals(settings).secret_key).run(job_id)
    said = blobs.read(log_key(job_id), 0, blobs.size(log_key(job_id))).decode()
    assert "secrets {} withheld" in said
    assert why in said
