"""What teachers said, kept between jobs: a teacher that has read these texts once need not read them again."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from worker.training.device import Precision, device_name
from worker.training.exchange import Inputs
from worker.training.reading import Reading
from worker.training.turns import Beat, turn_at

HEARD = "The teacher has read these texts for an earlier job: what it said then is used."
SUFFIX = ".npy"
HEADER_BYTES = 128
"""What a file takes besides its numbers."""


@dataclass(frozen=True)
class TeacherCache:
    """Arrays in one folder, found by who read and what was read, not by names: another T, alpha, divergence, student or
    copy of the data set finds them too. Files appear whole or not at all, so that jobs may share the folder.
    """

    folder: Path | None = None
    """None where nothing is shared."""
    teachers: Sequence[str] = ()
    """A digest of each teacher's weights and tokenizer, in the order of the spec."""
    is_awaited: bool = False
    """Whether other jobs are known to need the same readings, as those of a sweep do."""

    @classmethod
    def of(cls, inputs: Inputs) -> Self:
        """Return the cache of a job's inputs."""
        if inputs.cache is None:
            return cls()
        places = range(len(inputs.teachers))
        teachers = [inputs.provenance[f"teacher-{place}"]["sha256"] for place in places]
        return cls(inputs.cache, teachers, inputs.is_awaited)

    def key(self, teacher: int, reading: Reading, precision: Precision, **more: Any) -> str | None:
        """Return what tells this reading from every other one; None where nothing is shared.

        Args:
            teacher: its place in the spec. One that was fine-tuned in this job has no key.
            reading: what it reads: all token ids or pixels, in their order.
            precision: that of the forward pass.
            more: what else decides the numbers, such as their kind and the order of the classes.
        """
        if self.folder is None:
            return None
        said = {
            "teacher": self.teachers[teacher],
            "read": reading.digest,
            "precision": precision,
            "device": device_name(),
            "versions": [version("torch"), version("transformers")],
            **more,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def find(self, key: str | None) -> NDArray[Any] | None:
        """Return the array, memory-mapped, and note that it was used; None where it is not there or not whole."""
        if self.folder is None or key is None:
            return None
        path = self.folder / f"{key}{SUFFIX}"
        try:
            os.utime(path)
            found: NDArray[Any] = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        return found

    @contextmanager
    def alone(self, keys: Iterable[str | None], while_waiting: Beat) -> Iterator[Beat]:
        """Be the only job on this machine that reads these; look for them inside, since another may have read them.

        Yields what the reader calls now and then to show that it goes on.
        """
        with ExitStack() as turns:
            # In one order for everybody, so that no two jobs wait for each other.
            wanted = sorted({key for key in keys if key is not None}) if self.folder is not None else []
            beats = [turns.enter_context(turn_at(self._turn(key), while_waiting)) for key in wanted]

            def go_on() -> None:
                for beat in beats:
                    beat()

            yield go_on

    def writable(self, key: str | None, kind: np.dtype[Any], shape: tuple[int, ...], otherwise: Path) -> Any:
        """Return an array on disk to be filled bit by bit; `seal` gives it its name."""
        own = self._own(key, otherwise)
        own.parent.mkdir(parents=True, exist_ok=True)
        return np.lib.format.open_memmap(own, mode="w+", dtype=kind, shape=shape)

    def seal(self, key: str | None, array: Any) -> NDArray[Any]:
        """Return the filled array, read-only; from now on others find it."""
        array.flush()
        own = Path(array.filename)
        if self.folder is not None and key is not None:
            own = own.rename(self.folder / f"{key}{SUFFIX}")
        kept: NDArray[Any] = np.load(own, mmap_mode="r")
        return kept

    def keep(self, key: str | None, array: NDArray[Any], otherwise: Path) -> NDArray[Any]:
        """Write an array and return it memory-mapped; below `otherwise` where nothing is shared."""
        on_disk = self.writable(key, array.dtype, array.shape, otherwise)
        on_disk[...] = array
        return self.seal(key, on_disk)

    def _turn(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.turn"

    def _own(self, key: str | None, otherwise: Path) -> Path:
        return otherwise if self.folder is None or key is None else self.folder / f"{key}.{os.getpid()}.part"
