import signal
import subprocess
import sys
import time
from pathlib import Path

from core.wire import JobError
from tests.distill_client.cli.conftest import Run
from tests.distill_client.live import Live

COMMAND = [sys.executable, "-c", "from distill_client.cli import main; main()"]


def test_a_pipe_gets_plain_lines_and_the_verdict(run: Run, live: Live) -> None:
    ran = run("watch", live.finished_job())
    assert ran.code == 0
    said = [line[10:] for line in ran.out.splitlines() if line[:1].isdigit()]
    assert said == ["Queued", "Started on played", "Succeeded"]
    assert "\x1b" not in ran.out
    assert "The student keeps 93 %" in ran.out


def test_as_json_the_stream_is_followed_by_the_job(run: Run, live: Live) -> None:
    job_id = live.finished_job()
    *events, job = run("watch", job_id, "--json").lines
    assert {event["type"] for event in events} == {"status", "progress", "metric", "done"}
    assert (job["id"], job["status"]) == (job_id, "succeeded")


def test_exit_status_tells_how_it_ended(run: Run, live: Live) -> None:
    failed = live.job()
    live.worker(failed).fail(JobError(code="out_of_memory", message="too large", hint="Halve it."))
    cancelled = live.job()
    run("cancel", cancelled)
    assert run("watch", live.finished_job(), "--exit-status").code == 0
    assert run("watch", failed, "--exit-status").code == 1
    assert run("watch", cancelled, "--exit-status").code == 130
    assert run("watch", failed).code == 0
    assert "hint: Halve it." in run("watch", failed).out


def test_ctrl_c_detaches_and_the_job_goes_on(live: Live, tmp_path: Path) -> None:
    job_id = live.job()
    worker = live.worker(job_id)
    output = tmp_path / "watch.txt"
    with output.open("wb") as file:
        command = [*COMMAND, "--url", live.url, "watch", job_id, "--exit-status"]
        watcher = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Whoever runs the tests in the background has Ctrl-C ignored, and so would all that they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    deadline = time.monotonic() + 20
    while "Started" not in output.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(10) == 130
    assert f"{job_id} goes on" in output.read_text()
    with live.client() as client:
        assert client.jobs.get(job_id).status == "running"
    worker.succeed()
