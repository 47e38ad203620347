"""How fast a model is on this device: one example alone, and examples in batches."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from worker.training.device import Precision, autocast, device
from worker.training.reading import Reading
from worker.training.split import Rows

EXAMPLES_ALONE, WARM_UP, BATCHES = 30, 3, 5


@dataclass(frozen=True)
class Speed:
    latency_ms: float
    examples_per_second: float


@torch.inference_mode()
def speed_of(model: nn.Module, reading: Reading, rows: Rows, batch_size: int, precision: Precision) -> Speed:
    """Measure medians on some of the held-out examples; no random number is drawn, so nothing else changes."""
    model.to(device()).eval()
    alone = [rows[at : at + 1] for at in range(min(EXAMPLES_ALONE, len(rows)))]
    batches = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)][:BATCHES]
    for some in (alone * WARM_UP)[:WARM_UP]:
        _seconds(model, reading, some, precision)
    latency = statistics.median(_seconds(model, reading, some, precision) for some in alone)
    rates = [len(some) / _seconds(model, reading, some, precision) for some in batches]
    return Speed(latency * 1000, statistics.median(rates))


def together(members: list[Speed]) -> Speed:
    """Return the speed of an ensemble whose members run one after the other."""
    return Speed(
        sum(member.latency_ms for member in members), 1 / sum(1 / member.examples_per_second for member in members)
    )


def _seconds(model: nn.Module, reading: Reading, rows: Rows, precision: Precision) -> float:
    inputs = {name: tensor.to(device()) for name, tensor in reading.batch(rows).items()}
    started = time.perf_counter()
    with autocast(precision):
        model(**inputs).logits.float().cpu()
    return time.perf_counter() - started
