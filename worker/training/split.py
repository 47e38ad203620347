"""Which examples train, which validate, which test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetUnusable

Rows = NDArray[np.int64]
PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Parts:
    """Indices of examples, ascending, without overlap."""

    train: Rows
    validation: Rows
    test: Rows

    @property
    def held_out(self) -> Rows:
        """What the report measures on: the test part, or validation where there is none."""
        return self.test if len(self.test) else self.validation

    @property
    def held_out_name(self) -> Literal["test", "validation"]:
        return "test" if len(self.test) else "validation"


def named(names: Sequence[str | None]) -> Parts:
    """Split by a column that says train, validation (or valid, val, dev) or test; an empty cell is train.

    Raises:
        DatasetUnusable: a cell says something else.
    """
    known = [PARTS.get((name or "train").strip().casefold()) for name in names]
    if None in known:
        raise DatasetUnusable(
            f"the split column says '{names[known.index(None)]}'; it may say train, validation or test"
        )
    parts = np.array(known)
    return Parts(*(np.flatnonzero(parts == part).astype(np.int64) for part in ("train", "validation", "test")))


def drawn(codes: Rows, validation: float, test: float, seed: int) -> Parts:
    """Draw shares of the labelled examples, stratified by label; of all examples where there are no labels.

    Examples without a label stay in train: they cannot be measured with.
    """
    every = np.arange(len(codes), dtype=np.int64)
    pool = every[codes >= 0] if (codes >= 0).any() else every
    order = np.random.default_rng([seed, 0]).permutation(pool)
    # Interleaving the classes makes every prefix of the order stratified, so that both shares are prefixes of it.
    order = order[np.argsort(_place_in_class(codes[order]), kind="stable")]
    n_test, n_validation = _share(len(pool), test), _share(len(pool), validation)
    held = np.zeros(len(codes), dtype=np.int8)
    held[order[:n_test]] = 2
    held[order[n_test : n_test + n_validation]] = 1
    return Parts(every[held == 0], every[held == 1], every[held == 2])


def _share(count: int, share: float) -> int:
    return max(1, round(count * share)) if share > 0 and count > 1 else 0


def _place_in_class(codes: Rows) -> NDArray[np.float64]:
    """Return for each example how far through its class it comes, between 0 and 1."""
    place = np.empty(len(codes), dtype=np.float64)
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return place
