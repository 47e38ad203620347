"""The whole service as a child process, for a demo or a benchmark: started on a free port, stopped with us."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_client.errors import ClientError

START_SECONDS = 90.0
STOP_SECONDS = 60.0


class ServiceNotStarted(ClientError):
    """The embedded service ended, or did not answer in time; its last words are in the message."""

    def __str__(self) -> str:
        return f"the service did not start: {self.args[0]}"


@contextmanager
def embedded_service(folder: Path) -> Iterator[str]:
    """Yield the URL of a service with its data in `folder/data`. Stops the whole process tree at the end.

    Raises ServiceNotStarted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ready, log = folder / "ready.json", folder / "launcher.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "launcher", "--port", "0", "--data", str(folder / "data")]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C comes to us alone, and we stop the tree in order. If we are killed outright, the
        # end of its stdin tells it.
        tree = subprocess.Popen(
            [*command, "--ready-file", str(ready), "--until-stdin-ends"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _url_once_ready(tree, ready, log)
    finally:
        _stop(tree)


def _url_once_ready(tree: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while not ready.is_file():
        if tree.poll() is not None or time.monotonic() > deadline:
            raise ServiceNotStarted(log.read_text(errors="replace").strip()[-2000:] or f"exit code {tree.returncode}")
        time.sleep(0.1)
    return str(json.loads(ready.read_text())["url"])


def _stop(tree: subprocess.Popen[bytes]) -> None:
    if tree.stdin is not None:
        tree.stdin.close()
    if tree.poll() is None:
        tree.send_signal(signal.SIGTERM)
    try:
        tree.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        tree.kill()
        tree.wait()
