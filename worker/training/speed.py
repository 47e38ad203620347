"""How fast a model is on this device: one text alone, and texts in batches."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from worker.training.device import Precision, autocast, device
from worker.training.split import Rows
from worker.training.tokens import Encoded

TEXTS_ALONE, WARM_UP, BATCHES = 30, 3, 5


@dataclass(frozen=True)
class Speed:
    latency_ms: float
    examples_per_second: float


@torch.inference_mode()
def speed_of(model: nn.Module, encoded: Encoded, rows: Rows, batch_size: int, precision: Precision) -> Speed:
    """Measure medians on some of the held-out texts; no random number is drawn, so nothing else changes."""
    model.to(device()).eval()
    alone = [rows[at : at + 1] for at in range(min(TEXTS_ALONE, len(rows)))]
    batches = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)][:BATCHES]
    for some in (alone * WARM_UP)[:WARM_UP]:
        _seconds(model, encoded, some, precision)
    latency = statistics.median(_seconds(model, encoded, some, precision) for some in alone)
    rates = [len(some) / _seconds(model, encoded, some, precision) for some in batches]
    return Speed(latency * 1000, statistics.median(rates))


def together(members: list[Speed]) -> Speed:
    """Return the speed of an ensemble whose members run one after the other."""
    return Speed(
        sum(member.latency_ms for member in members), 1 / sum(1 / member.examples_per_second for member in members)
    )


def _seconds(model: nn.Module, encoded: Encoded, rows: Rows, precision: Precision) -> float:
    texts = {name: tensor.to(device()) for name, tensor in encoded.batch(rows).items()}
    started = time.perf_counter()
    with autocast(precision):
        model(**texts).logits.float().cpu()
    return time.perf_counter() - started
