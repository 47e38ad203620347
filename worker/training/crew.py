"""The processes that train with this one: started with the job, ended with it."""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from core.errors import TooFewDevices, TrainingKilled
from core.training import ResourcesSpec
from core.wire import FROM_OUTSIDE, Errand, how_ended
from worker.training.follower import BEREFT, READY
from worker.training.observer import PeerKilled
from worker.training.pupil import Pupil
from worker.training.ring import FIRST, PeerLost, Ring, is_parting, joined
from worker.training.shards import is_too_large
from worker.training.sharing import Share, write_share

COMMAND = (sys.executable, "-m", "worker.training.follower")
SECONDS_BETWEEN_LOOKS = 0.5
MOURNING_SECONDS = 30.0
"""How long to wait for the end of a process whose connection is gone already."""


class Crew:
    """`size` processes, this one counted."""

    def __init__(self, size: int, folder: Path, is_sharded: bool | None = None) -> None:
        self.size, self.folder, self.is_sharded = size, folder, is_sharded
        self.threads = max(1, torch.get_num_threads() // size)
        self._others: list[subprocess.Popen[bytes]] = []
        self._trainings = 0
        self._is_broken = False

    def spreads(self, pupil: Pupil) -> bool:
        """Tell whether a pupil's layers are spread: as the job says, else where one device could not hold them."""
        return is_too_large(pupil) if self.is_sharded is None else self.is_sharded

    def start(self) -> None:
        """Have the others import what trains while this process does something else."""
        if not self._others:
            self._others = [self._spawn(rank) for rank in range(FIRST + 1, self.size)]

    def close(self) -> None:
        """End the others; they hold nothing that is not here."""
        others, self._others = self._others, []
        for other in others:
            other.kill()
        for other in others:
            with suppress(BrokenPipeError), other:
                other.wait()

    @contextmanager
    def gathered(self, share: Share) -> Iterator[Ring]:
        """Train together within this.

        Raises:
            PeerKilled: another process was ended from outside.
            TrainingKilled: one ended of itself.
            RuntimeError, MemoryError, …: what went wrong in one of them, such as running out of memory.
        """
        self.start()
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with self._group(share), self._watched():
                yield from self._ring(share)
        except PeerLost as lost:
            raise self._why() from lost
        finally:
            torch.set_num_threads(before)

    def _ring(self, share: Share) -> Iterator[Ring]:
        try:
            ring = Ring(share)
            yield ring
            ring.end()
        except PeerLost:
            raise
        except BaseException as error:
            # What is computed after an abort is garbage, and so is what is said of it.
            if self._is_broken or is_parting(error):
                raise PeerLost(str(error)) from error
            # In the middle of a step the others wait for what will not come.
            self.close()
            raise

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Within this, a process that ends also ends what this one waits for.

        gloo sees to that by itself; NCCL goes on waiting.
        """
        is_over, self._is_broken = threading.Event(), False

        def watch() -> None:
            while not is_over.wait(SECONDS_BETWEEN_LOOKS):
                if any(other.poll() is not None for other in self._others):
                    self._is_broken = True
                    abort()
                    return

        watching = threading.Thread(target=watch, daemon=True)
        if torch.cuda.is_available():
            watching.start()
        try:
            yield
        finally:
            is_over.set()
            if watching.is_alive():
                watching.join(MOURNING_SECONDS)

    @contextmanager
    def _group(self, share: Share) -> Iterator[None]:
        self._trainings += 1
        place, meeting = (self.folder / f"{name}-{self._trainings}" for name in ("share", "meeting"))
        write_share(share, place)
        try:
            for rank, other in enumerate(self._others, FIRST + 1):
                _tell(other, Errand(share=str(place), meeting=str(meeting), rank=rank, size=self.size))
            with joined(meeting, FIRST, self.size, self._look):
                yield
        finally:
            for path in (place, meeting):
                path.unlink(missing_ok=True)

    def _look(self) -> None:
        if any(other.poll() is not None for other in self._others):
            raise PeerLost("it has ended before all were there")

    def _why(self) -> Exception:
        """Return what ended another process, and end the rest."""
        deadline = time.monotonic() + MOURNING_SECONDS
        found: Exception | None = None
        while found is None and time.monotonic() < deadline:
            time.sleep(0.05)
            ended = [other for other in self._others if other.poll() is not None]
            found = next((why for other in ended if (why := last_word(other)) is not None), None)
        self.close()
        return found or TrainingKilled("an end that nobody saw", "")

    def _spawn(self, rank: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(rank, self.threads)
        )


@contextmanager
def crew_of(resources: ResourcesSpec, folder: Path) -> Iterator[Crew | None]:
    """Yield the processes that train a job beside this one, or None where it trains alone.

    Raises:
        TooFewDevices: there is no GPU for each; where there is none at all, no core.
    """
    size = resources.processes
    if size == 1:
        yield None
        return
    has_gpu = torch.cuda.is_available()
    most = torch.cuda.device_count() if has_gpu else os.cpu_count() or 1
    if size > most:
        raise TooFewDevices(size, most, "CUDA device(s)" if has_gpu else "core(s)")
    crew = Crew(size, folder, resources.sharded)
    crew.start()
    try:
        yield crew
    finally:
        crew.close()


def abort() -> None:
    """End what this process waits for from the others, in an error."""
    assert dist.group.WORLD is not None
    dist.group.WORLD.abort()


def _environment(rank: int, threads: int) -> dict[str, str]:
    """Ours, with a part of the CPU's threads, and of the GPUs that we see the one whose turn it is."""
    own = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if torch.cuda.is_available():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        own["CUDA_VISIBLE_DEVICES"] = seen.split(",")[rank] if seen else str(rank)
    return own


def _tell(other: subprocess.Popen[bytes], errand: Errand) -> None:
    """Send an errand, and wait until it is begun.

    Raises:
        PeerLost: the process has ended.
    """
    assert other.stdin is not None
    assert other.stdout is not None
    with suppress(BrokenPipeError):
        other.stdin.write(errand.model_dump_json().encode() + b"\n")
        other.stdin.flush()
    if other.stdout.readline() != READY:
        raise PeerLost("it has ended before the training began")


def last_word(other: subprocess.Popen[bytes]) -> Exception | None:
    """Return why a process ended; None where it did because another one had."""
    assert other.stdout is not None
    said = other.stdout.read()
    if said:
        found: Any = pickle.loads(said)  # noqa: S301 - written by the process that we started
        return found if isinstance(found, Exception) else RuntimeError(f"{found}")
    if other.returncode == BEREFT:
        return None
    how = how_ended(other.returncode)
    return PeerKilled(how) if -other.returncode in FROM_OUTSIDE else TrainingKilled(how, "")
