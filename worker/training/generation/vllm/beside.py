"""vLLM in a process of its own: it may have another Python than ours, and the GPU is free again when it ends."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import EngineUnavailable, OutOfMemory
from core.wire import FROM_OUTSIDE, how_ended
from worker.training.observer import PeerKilled

PROGRAM = Path(__file__).with_name("program.py")
MEMORY = 0.9
"""Share of a GPU's free memory that it may take."""
LOOK_SECONDS = 0.2
LONGEST_SECONDS = 60.0
"""For a question to an interpreter, or for an end."""
OF_ONE_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"})
QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}
"""The engine in the process that was started; nobody is told of it, and nothing is fetched."""


@dataclass(frozen=True)
class Vllm:
    """Where vLLM is, and what it is told besides the model."""

    python: Path = Path(sys.executable)
    """An interpreter that may import it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of `vllm.LLM`, such as tensor_parallel_size."""

    def name(self) -> str:
        """Return its version there and the options: texts of another one are other texts.

        Raises:
            EngineUnavailable: there is none.
        """
        command = [str(self.python), "-c", "import importlib.metadata as m; print(m.version('vllm'))"]
        asked: dict[str, Any] = {"capture_output": True, "check": True, "text": True, "timeout": LONGEST_SECONDS}
        try:
            said = subprocess.run(command, env=environment(self.python), **asked)
        except (OSError, subprocess.SubprocessError) as error:
            raise EngineUnavailable("vllm", "the Python that DISTILL_VLLM_PYTHON names has no vLLM") from error
        options = f" {json.dumps(self.options, sort_keys=True)}" if self.options else ""
        return f"vllm {said.stdout.strip()}{options}"


@dataclass(frozen=True)
class Request:
    """A text to be written."""

    id: int
    prompt: Sequence[int]
    """Token ids."""
    seed: int
    sampling: Mapping[str, Any]
    """Arguments of `vllm.SamplingParams`."""


@dataclass(frozen=True)
class Text:
    id: int
    """Of its request."""
    ids: list[int]
    """Of its tokens, the one that ended it included."""
    is_stopped: bool
    """Whether a stop text ended it."""


class VllmBeside:
    """A model that vLLM has in memory, as long as the process runs."""

    def __init__(self, vllm: Vllm, told: Mapping[str, Any]) -> None:
        """Start it, and wait until the model is there.

        Args:
            told: arguments of `vllm.LLM`, and `transformers`; the operator's options come before them.

        Raises:
            EngineUnavailable, OutOfMemory: it cannot be started with this model.
            PeerKilled: somebody outside ended it.
        """
        self.child = subprocess.Popen(
            [str(vllm.python), str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=environment(vllm.python),
        )
        self._said, self._failed = bytearray(), ""
        try:
            self._tell({"memory": MEMORY, **told, **vllm.options})
            while not any("ready" in said for said in self._heard()):
                pass
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End it, and whatever it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        with suppress(BrokenPipeError), self.child:
            self.child.wait()

    def texts(self, requests: Sequence[Request], beat: Callable[[], None]) -> Iterator[list[Text]]:
        """Yield what follows each prompt, as it comes, some at a time.

        `beat` is called whenever it gives a sign of life, and may raise to stop.

        Raises:
            EngineUnavailable, OutOfMemory: it failed.
            PeerKilled: somebody outside ended it.
        """
        for request in requests:
            self._tell({**vars(request), "id": str(request.id)})
        missing = len(requests)
        while missing:
            heard = self._heard()
            beat()
            texts = [Text(int(said["id"]), said["ids"], said["is_stopped"]) for said in heard if "id" in said]
            missing -= len(texts)
            if texts:
                yield texts

    def _tell(self, asked: Mapping[str, Any]) -> None:
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: its last words will be heard
            self.child.stdin.write(json.dumps(asked).encode() + b"\n")
            self.child.stdin.flush()

    def _heard(self) -> list[dict[str, Any]]:
        """Return what it says next, one line or more. While it is silent nobody takes that for a sign of life."""
        assert self.child.stdout is not None
        if self._failed:
            raise self._failure()
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._said:
                if selector.select(LOOK_SECONDS):
                    piece = os.read(self.child.stdout.fileno(), 1 << 16)
                    self._said += piece
                    if not piece:
                        raise self._why()
                elif self.child.poll() is not None:  # though something that it started holds its pipe
                    raise self._why()
        lines, _, rest = bytes(self._said).rpartition(b"\n")
        self._said = bytearray(rest)
        heard: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
        # What was written before it failed is handed on first.
        self._failed = next((said["failed"] for said in heard if "failed" in said), "")
        if self._failed and "failed" in heard[0]:
            raise self._failure()
        return heard

    def _failure(self) -> Exception:
        if "out of memory" in self._failed.lower():
            return OutOfMemory(f"vLLM: {self._failed}")
        return EngineUnavailable("vllm", self._failed)

    def _why(self) -> Exception:
        """Return why it says nothing more."""
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(LONGEST_SECONDS)
        self.end()
        code = self.child.returncode
        if -code in FROM_OUTSIDE:
            return PeerKilled(how_ended(code))
        return EngineUnavailable("vllm", f"its process ended by {how_ended(code)}; the job's log may say why")


def environment(python: Path) -> dict[str, str]:
    """Ours without what is only ours, as an interpreter's own environment would have it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISTILL_")}
    if python != Path(sys.executable):
        kept = {name: value for name, value in kept.items() if name not in OF_ONE_PYTHON}
    # Some of what vLLM compiles calls programs that lie beside its interpreter.
    return kept | {"PATH": f"{python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"} | QUIET
