"""The device of this worker and the precision that it computes in."""

import contextlib
import math
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import nn

Precision = Literal["fp32", "bf16"]
TRIAL_WIDTH, PAYS_BELOW = 768, 0.8
"""The width of a matrix product as in a small encoder, and the share of fp32's time that bf16 may take."""
FEWEST_TRIALS, MOST_TRIALS = 5, 40


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def put_on_device(model: nn.Module) -> None:
    """Move a model there, and touch nothing where it is there already: parameters that are spread do not bear it."""
    if next(model.parameters()).device.type != device().type:
        model.to(device())


def device_name() -> str:
    """Return what the report calls this device, such as "cpu (AMD EPYC, 2 threads)"."""
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"cpu ({torch.cpu.get_capabilities().get('cpu_name') or 'unnamed'}, {torch.get_num_threads()} threads)"


def has_native_bf16() -> bool:
    """Tell whether bf16 is computed in hardware; where it is only emulated it is slower than fp32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


@cache
def bf16_pays() -> bool:
    """Tell whether bf16 is faster than fp32 here, which some builds and machines with the instructions are not.

    Matrix products are timed, some 50 ms once per process; no random number is drawn.
    """
    return pays(_seconds)


def pays(seconds_of: Callable[[torch.dtype], float]) -> bool:
    """Tell whether bf16 takes clearly less time than fp32.

    Both are timed in turns and the best times compared: what else the machine does comes and goes, and must not decide
    what a job computes in. Where bf16 has not won yet it gets more chances.

    Args:
        seconds_of: times one product; called 5 to 40 times for each kind.
    """
    full = half = math.inf
    for trial in range(MOST_TRIALS):
        full, half = min(full, seconds_of(torch.float32)), min(half, seconds_of(torch.bfloat16))
        if trial + 1 >= FEWEST_TRIALS and half < PAYS_BELOW * full:
            return True
    return False


def _seconds(kind: torch.dtype) -> float:
    factor = torch.ones(TRIAL_WIDTH, TRIAL_WIDTH, dtype=kind, device=device())
    started = time.perf_counter()
    float((factor @ factor)[0, 0])  # waits for a GPU as well
    return time.perf_counter() - started


def precision_of(wanted: Literal["auto", "fp32", "bf16"]) -> Precision:
    """Return what a job computes in; with "auto" bf16 where the device has it and a short trial says that it pays."""
    if wanted == "auto":
        return "bf16" if has_native_bf16() and bf16_pays() else "fp32"
    return wanted


def autocast(precision: Precision) -> contextlib.AbstractContextManager[object]:
    """Return the context in which a forward pass computes in `precision`, whatever its weights are."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device().type, dtype=torch.bfloat16)


def be_deterministic() -> None:
    """Make the same spec on the same machine give the same bytes.

    Kernels without a deterministic form warn instead of failing. Filling fresh memory is switched off: it costs time
    and only hides reads of uninitialised memory.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
