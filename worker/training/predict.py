"""Logits of a model for many examples, without gradients.

Legend: B examples of a batch, C classes, R examples asked for.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from worker.training.batches import in_batches
from worker.training.classifying import class_logits
from worker.training.device import Precision, autocast, device, put_on_device
from worker.training.reading import Reading
from worker.training.split import Rows

Pulse = Callable[[int], None]
"""Called after each batch with the number of its examples."""


def logits_of(
    model: nn.Module, reading: Reading, rows: Rows, *, batch_size: int, precision: Precision, pulse: Pulse | None = None
) -> NDArray[np.float32]:
    """Return float32 logits [R, C] in the order of `rows`, read in batches of similar length, the longest first.

    The mode of the model (training or not) is as before when this returns, and no random number is drawn. A batch that
    does not fit into memory is halved.
    """
    out: list[NDArray[np.float32]] = []

    def read(places: NDArray[np.int64]) -> None:
        logits_BC = _forward(model, reading, rows[places], precision)
        if not out:
            out.append(np.empty((len(rows), logits_BC.shape[1]), dtype=np.float32))
        out[0][places] = logits_BC
        if pulse is not None:
            pulse(len(places))

    was_training = model.training
    put_on_device(model)
    model.eval()
    try:
        in_batches(reading.lengths[rows], batch_size, read)
    finally:
        model.train(was_training)
    return out[0] if out else np.empty((0, 0), dtype=np.float32)


@torch.inference_mode()
def _forward(model: nn.Module, reading: Reading, rows: Rows, precision: Precision) -> NDArray[np.float32]:
    inputs = {name: tensor.to(device()) for name, tensor in reading.batch(rows).items()}
    with autocast(precision):
        logits_BC = class_logits(model, inputs)
    found: NDArray[np.float32] = logits_BC.float().cpu().numpy()
    return found
