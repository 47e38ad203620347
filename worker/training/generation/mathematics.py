"""Whether two mathematical answers are equal, asked of a process that may be killed.

A text can hold an expression such as 9^{9^{9}} whose evaluation takes for ever or all memory, inside a single call that
no signal interrupts. So math-verify and sympy run in a process of their own, with a limit on its memory, and a question
that takes too long is answered with no. Run as a module this file is that process: one JSON question a line.
"""

import json
import selectors
import subprocess
import sys
from types import TracebackType
from typing import Self

ANSWER_SECONDS = 5.0
START_SECONDS = 120.0
ABANDONED_SECONDS = 30
MEMORY_BYTES = 4 << 30


class Mathematician:
    """Compares LaTeX answers. A context manager: leaving it ends the process."""

    def __init__(self, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.answer_seconds = answer_seconds
        self.child: subprocess.Popen[bytes] | None = None
        self.known: dict[tuple[str, str], bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def same(self, right: str, given: str) -> bool:
        """Tell whether `given` equals the right answer: no where one cannot be read or the comparison is too slow."""
        if right == given:
            return True
        if (right, given) not in self.known:
            self.known[right, given] = self._ask(right, given)
        return self.known[right, given]

    def _ask(self, right: str, given: str) -> bool:
        child = self._running()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps([right, given]).encode() + b"\n")
            child.stdin.flush()
            reply = self._reply(child, self.answer_seconds)
        except BrokenPipeError:
            reply = b""
        if not reply:
            self._end()
        return reply == b"yes\n"

    def _running(self) -> subprocess.Popen[bytes]:
        if self.child is None:
            # Not a fork: forking after torch has worked hangs.
            command = [sys.executable, "-m", __name__]
            self.child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            if self._reply(self.child, START_SECONDS) != b"ready\n":
                self._end()
                raise OSError("the process that compares mathematical answers does not start")
        return self.child

    def _reply(self, child: subprocess.Popen[bytes], seconds: float) -> bytes:
        """Return the next line, or nothing where it takes too long or the process ends."""
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            return child.stdout.readline() if selector.select(seconds) else b""

    def _end(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None


def answer_questions() -> None:
    """Read pairs from stdin until it ends, and say yes or no to each."""
    import logging
    import resource

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # The first comparison compiles what all need; no question of a job's is to pay for it out of its few seconds.
    verify(parse(r"\boxed{\frac12}"), parse(r"\boxed{0.5}"))
    out = sys.stdout.buffer
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin.buffer:
        # Should whoever asked be gone, nobody would end an evaluation that never ends: the system does.
        used = resource.getrusage(resource.RUSAGE_SELF)
        most_seconds = int(used.ru_utime + used.ru_stime) + ABANDONED_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (most_seconds, resource.RLIM_INFINITY))
        right, given = (parse(f"\\boxed{{{answer}}}") for answer in json.loads(line))
        out.write(b"yes\n" if right and given and verify(right, given) else b"no\n")
        out.flush()


if __name__ == "__main__":
    answer_questions()
