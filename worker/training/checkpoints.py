"""Checkpoints on disk: what makes one valid, and which is the newest valid one of a phase."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SEAL = "checkpoint.json"
"""Written last: step, metrics and the SHA-256 of every other file. A checkpoint without it was never finished."""


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    step: int
    is_final: bool
    """True where the phase was over at this step."""
    micro_batches: int
    """Into how many each step was cut."""
    is_sharded: bool
    """Whether layers were spread over processes: what the optimizer remembers is in another order then."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def seal(
    folder: Path,
    step: int,
    *,
    is_final: bool,
    metrics: Mapping[str, float],
    micro_batches: int = 1,
    is_sharded: bool = False,
) -> None:
    """Write the seal of a finished checkpoint."""
    files = {str(path.relative_to(folder)): sha256_of(path) for path in files_below(folder) if path.name != SEAL}
    said = {
        "step": step,
        "is_final": is_final,
        "micro_batches": micro_batches,
        "is_sharded": is_sharded,
        "metrics": dict(metrics),
    }
    (folder / SEAL).write_text(json.dumps({**said, "sha256": files}, indent=1), encoding="utf-8")


def opened(folder: Path) -> Checkpoint | None:
    """Return the checkpoint in `folder`, or None where a file is missing, cut or changed."""
    try:
        seal_ = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        intact = all(sha256_of(folder / name) == digest for name, digest in seal_["sha256"].items())
        how = int(seal_.get("micro_batches", 1)), bool(seal_.get("is_sharded", False))
        return Checkpoint(folder, int(seal_["step"]), bool(seal_["is_final"]), *how) if intact else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def newest(phase: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest valid checkpoint of a phase and the names of newer ones that are broken.

    Broken ones are deleted: left in place they would be taken for the newest when old ones are cleared away.
    """
    broken: list[str] = []
    for folder in sorted(phase.glob("checkpoint-*"), key=_step, reverse=True):
        checkpoint = opened(folder)
        if checkpoint is not None:
            return checkpoint, broken
        broken.append(folder.name)
        shutil.rmtree(folder)
    return None, broken


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
