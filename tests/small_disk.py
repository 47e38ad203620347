"""A disk of a given size that really fills up: a tmpfs in a mount namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

IN_OWN_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def run_on_small_disk(disk: Path, size: str, program: str, *arguments: str | Path) -> None:
    """Run a Python program while a disk of `size` is mounted at `disk`. Skips where none can be."""
    disk.mkdir(parents=True, exist_ok=True)
    mount = f"mount -t tmpfs -o size={size} tmpfs {disk}"
    try:
        allowed = subprocess.run([*IN_OWN_NAMESPACE, mount], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here, so that no small disk can be made")
    if allowed.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {allowed.stderr.strip()}")
    run = [*IN_OWN_NAMESPACE, f'{mount} && exec "$0" "$@"', sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
