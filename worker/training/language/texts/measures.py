"""How well models say the texts that were held out, with the teachers beside them or without.

Legend: N kept tokens of a batch, n of them in one chunk, V vocabulary, R texts.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from worker.training.device import Precision, autocast, device
from worker.training.language.chunked import rows_at_once
from worker.training.language.evaluation import EVALUATION_BATCH, Tally
from worker.training.language.models import head_of, vocabulary_of
from worker.training.language.scripts import Scripts, on_device
from worker.training.language.signal import last_hidden
from worker.training.split import Rows


@torch.no_grad()
def loss_tally(
    model: nn.Module, scripts: Scripts, rows: Rows, precision: Precision, pulse: Callable[[int], None]
) -> Tally:
    """Measure a model's cross-entropy alone, by itself. Its mode is as before when this returns."""
    kept, sums = scripts.kept(rows), np.zeros(len(rows))
    was_training = model.training
    model.to(device()).eval()
    step = rows_at_once(vocabulary_of(model))
    for start in range(0, len(rows), EVALUATION_BATCH):
        some = slice(start, start + EVALUATION_BATCH)
        batch = on_device(scripts.script(rows[some]))
        hidden_ND = last_hidden(model, batch["texts"], batch["predicts"], precision)
        of_text = np.repeat(np.arange(len(rows))[some], kept[some])
        for first in range(0, len(hidden_ND), step):
            chunk = slice(first, first + step)
            with autocast(precision):
                logits_nV = head_of(model)(hidden_ND[chunk])
            loss_n = cross_entropy(logits_nV.float(), batch["targets"][chunk], reduction="none")
            np.add.at(sums, of_text[chunk], loss_n.double().cpu().numpy())
        pulse(len(rows[some]))
    model.train(was_training)
    return Tally(kept, {"loss": sums})


def mean_or_none(tally: Tally, measure: str) -> float | None:
    """Return the mean per token of a measure, or None where it was not taken."""
    return tally.mean(measure) if measure in tally.sums else None


def losses(tallies: Mapping[str, Tally]) -> dict[str, float]:
    return {name: tally.mean("loss") for name, tally in tallies.items()}
