"""How well models write, token by token, on the same held-out completions.

Legend: N kept tokens of a batch, n of them in one chunk, V vocabulary, R examples.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from core.report import Interval
from worker.training.device import autocast, device
from worker.training.evaluation import RESAMPLES
from worker.training.language.chunked import rows_at_once
from worker.training.language.models import head_of
from worker.training.language.scripts import Scripts, on_device
from worker.training.language.signal import Voices, last_hidden
from worker.training.objectives.registry import Objective
from worker.training.split import Rows

EVALUATION_BATCH = 16
MEASURES = ("loss", "kl", "agreement", "kd_loss")


class Reader(Protocol):
    """A signal that knows the teachers' whole distributions."""

    def of(self, rows: Rows | Sequence[int], /) -> dict[str, Any]: ...

    def hidden(self, batch: Mapping[str, Any], /) -> Sequence[Tensor]:
        """Return each teacher's last hidden states [N, D] for what `of` put into a batch."""


@dataclass(frozen=True)
class Tally:
    """One model on R examples: sums over each example's kept tokens, by name of the measure."""

    kept: NDArray[np.int64]
    sums: dict[str, NDArray[np.float64]]

    def mean(self, name: str) -> float:
        """Return the mean per kept token."""
        return float(self.sums[name].sum() / self.kept.sum())


@dataclass(frozen=True)
class Yardstick:
    """What models are measured against: the teachers, at a temperature, and perhaps the training's objective."""

    voices: Voices
    reader: Reader
    temperature: float = 1.0
    objective: Objective | None = None


@torch.no_grad()
def tallies(
    models: Mapping[str, nn.Module],
    scripts: Mapping[str, Scripts],
    rows: Rows,
    yardstick: Yardstick,
    pulse: Callable[[int], None],
    *,
    mixture: str | None = None,
) -> dict[str, Tally]:
    """Measure several models at once; the teachers read each example once for all of them.

    Cross-entropy is at temperature 1, KL and the objective at the yardstick's. Modes of the models (training or not)
    are as before when this returns, and no random number is drawn.

    Args:
        scripts: how each model reads the examples; the targets are the same for all.
        mixture: the name under which the teachers together are measured as well.
    """
    kept = next(iter(scripts.values())).kept(rows)
    names = [*models, *([mixture] if mixture is not None else [])]
    found = {name: {measure: np.zeros(len(rows)) for measure in MEASURES} for name in names}
    modes = {name: model.training for name, model in models.items()}
    for model in models.values():
        model.to(device()).eval()
    for start in range(0, len(rows), EVALUATION_BATCH):
        some = slice(start, start + EVALUATION_BATCH)
        of_example = np.repeat(np.arange(len(rows))[some], kept[some])
        for chunk, measured in _batch(models, scripts, rows[some], yardstick, mixture):
            for name, measures in measured.items():
                for measure, values_n in measures.items():
                    np.add.at(found[name][measure], of_example[chunk], values_n.double().cpu().numpy())
        pulse(len(rows[some]))
    for name, model in models.items():
        model.train(modes[name])
    return {name: Tally(kept, sums) for name, sums in found.items()}


def _batch(
    models: Mapping[str, nn.Module],
    scripts: Mapping[str, Scripts],
    rows: Rows,
    yardstick: Yardstick,
    mixture: str | None,
) -> Iterator[tuple[slice, dict[str, dict[str, Tensor]]]]:
    """Yield each chunk of the batch's kept tokens with every model's measures [n]."""
    voices, read = yardstick.voices, yardstick.reader
    batches = {name: on_device(scripts[name].script(rows)) for name in models}
    targets_N = next(iter(batches.values()))["targets"]
    teachers = read.hidden(read.of(rows))
    own = {
        name: last_hidden(model, batches[name]["texts"], batches[name]["predicts"], voices.precision)
        for name, model in models.items()
    }
    step = rows_at_once(voices.vocabulary)
    for start in range(0, len(targets_N), step):
        chunk = slice(start, min(start + step, len(targets_N)))
        teacher_nV = voices.logits(teachers, chunk, yardstick.temperature)
        measured = {}
        for name, model in models.items():
            with autocast(voices.precision):
                logits_nV = head_of(model)(own[name][chunk])
            measured[name] = _measured(logits_nV.float(), teacher_nV, targets_N[chunk], yardstick)
        if mixture is not None:
            measured[mixture] = _measured(teacher_nV, teacher_nV, targets_N[chunk], yardstick)
        yield chunk, measured


def _measured(logits_nV: Tensor, teacher_nV: Tensor, targets_n: Tensor, yardstick: Yardstick) -> dict[str, Tensor]:
    """Return each measure of each row, [n]."""
    shared = teacher_nV.shape[1]
    log_q_nV = log_softmax(logits_nV[:, :shared] / yardstick.temperature, dim=-1)
    log_p_nV = log_softmax(teacher_nV / yardstick.temperature, dim=-1)
    found = {
        "loss": -log_softmax(logits_nV, dim=-1).gather(1, targets_n[:, None])[:, 0],
        "kl": (log_p_nV.exp() * (log_p_nV - log_q_nV)).sum(dim=-1).clamp(min=0),
        "agreement": (log_q_nV.argmax(dim=-1) == log_p_nV.argmax(dim=-1)).float(),
    }
    if yardstick.objective is not None:
        every_n = torch.ones(len(targets_n), dtype=torch.bool, device=targets_n.device)
        total = yardstick.objective(logits_nV[:, :shared], teacher_nV, every_n, temperature=yardstick.temperature)
        found["kd_loss"] = total.expand(len(targets_n)) / len(targets_n)
    return found


def perplexity(loss: float) -> float:
    """Return exp(loss); infinite losses of a hopeless model stay finite, as JSON wants it."""
    return math.exp(min(loss, 700.0))


def ratio_interval(differences_R: NDArray[np.float64], kept_R: NDArray[np.int64], seed: int) -> Interval:
    """Return the 95 % percentile interval of a difference per token, from resampling whole examples 2,000 times
    (Efron 1979): tokens of one text are not independent."""
    draw = np.random.default_rng([seed, 2])
    found = []
    for _ in range(RESAMPLES):
        picked = draw.integers(0, len(kept_R), len(kept_R))
        found.append(differences_R[picked].sum() / kept_R[picked].sum())
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(low=float(low), high=float(high))
