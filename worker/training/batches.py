"""How models read many texts without learning: in batches of similar length, none larger than memory allows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from worker.training.device import device
from worker.training.memory import is_out_of_memory

Places = NDArray[np.int64]

SIMILAR = 0.8
"""A text this much shorter than the longest of a batch that fills the device already belongs into the next one."""
FILLING = {"cpu": 512, "cuda": 16_384}
"""Positions, padding included, with which a device computes about as fast as it can."""


def in_batches(lengths: Places, most: int, read: Callable[[Places], None], *, is_padded: bool = True) -> None:
    """Call `read` with the places of all texts, at most `most` at a time, the longest first.

    Padding costs as much as text: a batch ends where texts become clearly shorter, once it fills the device. One that
    does not fit into memory is halved, and none after it is larger.

    Args:
        lengths: of each text, [R].
        read: takes places in `lengths`; where it raises for want of memory it must have left nothing behind.
        is_padded: whether it pads at all; where it does not, batches may hold any lengths.
    """
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        places = order[at : at + most]
        if is_padded:
            places = places[: similar(lengths[places], FILLING[device().type])]
        try:
            read(places)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(places) == 1:
                raise
            most = len(places) // 2
            continue
        at += len(places)


def similar(falling: Places, filling: int) -> int:
    """Return how many of these lengths, which fall, make one batch."""
    is_full = np.arange(len(falling)) * falling[:1] >= filling
    ends = np.flatnonzero(is_full & (falling < SIMILAR * falling[:1]))
    return int(ends[0]) if len(ends) else len(falling)
