"""Asking to stop is safe at any moment: from a handler, from a handler within a handler, from the end of stdin."""

import signal
import subprocess
import sys

import pytest

WAITING = """
import signal, sys
from launcher.stopping import StopRequest
should_stop = StopRequest(until_stdin_ends=sys.argv[1] == "watch")
signal.signal(signal.SIGTERM, lambda *_: should_stop.ask())
print("waits", flush=True)
while not should_stop.wait(0.01):
    pass
print("stops", flush=True)
"""


def waiting(*arguments: str) -> "subprocess.Popen[bytes]":
    script = [sys.executable, "-c", WAITING, *arguments]
    waiter = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert waiter.stdout is not None
    assert waiter.stdout.readline() == b"waits\n"
    return waiter


@pytest.mark.parametrize("stdin", ["watch", "leave"])
def test_a_handful_of_signals_at_once_stops_it_once(stdin: str) -> None:
    with waiting(stdin) as waiter:
        for _ in range(50):
            waiter.send_signal(signal.SIGTERM)
        said, _ = waiter.communicate(timeout=60)
    # One that comes while the interpreter takes itself down finds no handler any more.
    assert waiter.returncode in (0, -signal.SIGTERM)
    assert said == b"stops\n"


def test_the_end_of_stdin_stops_it_and_words_on_stdin_do_not() -> None:
    with waiting("watch") as waiter:
        assert waiter.stdin is not None
        waiter.stdin.write(b"words\n" * 1000)
        waiter.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(0.3)
        said, _ = waiter.communicate(timeout=60)
    assert (waiter.returncode, said) == (0, b"stops\n")


def test_a_stdin_that_nobody_closes_does_not_abort_the_end() -> None:
    with waiting("watch") as waiter:
        waiter.terminate()
        assert waiter.wait(60) == 0


def test_without_watching_the_end_of_stdin_says_nothing() -> None:
    with waiting("leave") as waiter:
        assert waiter.stdin is not None
        waiter.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(0.3)
        waiter.terminate()
        assert waiter.wait(60) == 0
