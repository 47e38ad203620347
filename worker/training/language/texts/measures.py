"""How well models say the texts that were held out, without the teachers beside them."""

from collections.abc import Callable

from torch import nn

from worker.training.device import Precision
from worker.training.language.evaluation import Tally, TextsAlone, tallies
from worker.training.language.models import vocabulary_of
from worker.training.language.scripts import Scripts
from worker.training.split import Rows


def loss_tally(
    model: nn.Module, scripts: Scripts, rows: Rows, precision: Precision, pulse: Callable[[int], None]
) -> Tally:
    """Measure a model's cross-entropy alone, by itself. Its mode is as before when this returns."""
    alone = TextsAlone(vocabulary_of(model), precision)
    return tallies({"model": model}, {"model": scripts}, rows, alone, pulse)["model"]
