"""OpenVINO without torch: a converted model as it lies on disk, and one step of it after the other.

Shapes: B sequences, T new positions, K all positions so far, V vocabulary.
"""

import importlib
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "bf16"]
Weights = Literal["whole", "int8"]

READ_AT_ONCE = 512
"""Positions of a prompt that are read together: the mask of a longer piece would take memory by their square."""
FEWEST_THREADS = 2
"""With one, OpenVINO 2026.4 divides by zero as it compiles for AMX in bf16 (openvino issue 33300)."""
ROUNDED_TOGETHER = 128
"""Of what weights in 8 bits are multiplied with, so many numbers share a scale. Multiplied as it is, it would be slower
than whole weights."""
HIDDEN = np.float32(-1e30)
"""Added to what is not attended to. The smallest float would become -inf in bf16, and a row of nothing else NaN."""


def version_installed(package: str = "openvino") -> str | None:
    """Return which OpenVINO, or which package beside it, is installed, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def openvino(part: str | None = None) -> Any:
    """Return the library, or a part of it, which are untyped or absent.

    Without its companion package it reports no import and no conversion to its makers: a user's jobs are nobody else's.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # absent, as the documentation says
    return importlib.import_module("openvino" if part is None else f"openvino.{part}")


@dataclass(frozen=True)
class Setup:
    """How a model is compiled: the cache of keys and values as exact as all else, no core taken for itself."""

    precision: Precision
    threads: int
    weights: Weights = "whole"

    @property
    def settings(self) -> dict[str, Any]:
        """Return what OpenVINO is told."""
        kind = {"fp32": "f32", "bf16": "bf16"}[self.precision]
        return {
            "INFERENCE_PRECISION_HINT": kind,
            "KV_CACHE_PRECISION": kind,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": ROUNDED_TOGETHER if self.weights == "int8" else 0,
            "INFERENCE_NUM_THREADS": max(FEWEST_THREADS, self.threads),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }


class Runner:
    """A compiled model with its cache of keys and values."""

    def __init__(self, file: Path, setup: Setup) -> None:
        core = openvino().Core()
        compiled = core.compile_model(core.read_model(file), "CPU", setup.settings)
        self._request = compiled.create_infer_request()
        self._read = 0

    def begin(self) -> None:
        """Forget every text."""
        self._request.reset_state()
        self._read = 0

    def step(self, ids_BT: NDArray[np.int64], mask_BK: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Read new tokens behind those that were read; return the logits [B, V] of what follows the last one.

        Args:
            mask_BK: False where a position is padding; the last T are the new ones.
        """
        logits_BV: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        for start in range(0, ids_BT.shape[1], READ_AT_ONCE):
            piece_BT = ids_BT[:, start : start + READ_AT_ONCE]
            self._read += piece_BT.shape[1]
            logits_BV = self._piece(piece_BT, mask_BK[:, : self._read])
        return logits_BV

    def _piece(self, ids_BT: NDArray[np.int64], mask_BK: NDArray[np.bool_]) -> NDArray[np.float32]:
        rows, unread = ids_BT.shape
        seen = mask_BK.shape[1]
        places_BK = np.maximum(mask_BK.cumsum(axis=1) - 1, 0)
        is_earlier_TK = np.arange(seen - unread, seen)[:, None] >= np.arange(seen)[None, :]
        is_seen_BTK = is_earlier_TK[None] & mask_BK[:, None, :]
        found = self._request.infer(
            {
                "input_ids": np.ascontiguousarray(ids_BT),
                "attention_mask": np.where(is_seen_BTK, np.float32(0), HIDDEN)[:, None],
                "position_ids": np.ascontiguousarray(places_BK[:, -unread:]),
                "beam_idx": np.arange(rows, dtype=np.int32),
            }
        )
        return np.array(found["logits"], dtype=np.float32)
