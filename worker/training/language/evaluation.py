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
from worker.training.device import Precision, autocast, device
from worker.training.evaluation import RESAMPLES
from worker.training.language.chunked import rows_at_once
from worker.training.language.models import head_of
from worker.training.language.scripts import Scripts, on_device
from worker.training.language.signal import Voices, last_hidden
from worker.training.objectives.registry import Objective
from worker.training.split import Rows

EVALUATION_BATCH = 16


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

    def mean_or_none(self, name: str) -> float | None:
        """Return the mean per kept token of a measure, or None where it was not taken."""
        return self.mean(name) if name in self.sums else None


Said = Callable[[slice], Any]
"""What the teachers say of some of a batch's kept tokens, in the form in which a yardstick compares with it."""


class Measuring(Protocol):
    """What models are measured against, row by row."""

    @property
    def measures(self) -> Sequence[str]:
        """The names of what `measured` returns; `loss` is one of them."""

    @property
    def precision(self) -> Precision: ...

    @property
    def rows_at_once(self) -> int: ...

    def said(self, rows: Rows, /) -> Said:
        """Let the teachers read a batch of examples."""

    def measured(self, logits_nV: Tensor, said: Any, targets_n: Tensor, /) -> dict[str, Tensor]:
        """Return each measure of each row, [n]; sums over rows are what counts."""


@dataclass(frozen=True)
class Yardstick:
    """The teachers of the same tokens, at a temperature, and perhaps the training's objective.

    Cross-entropy is at temperature 1, KL and the objective at the yardstick's.
    """

    voices: Voices
    reader: Reader
    temperature: float = 1.0
    objective: Objective | None = None
    measures: tuple[str, ...] = ("loss", "kl", "agreement", "kd_loss")

    @property
    def precision(self) -> Precision:
        return self.voices.precision

    @property
    def rows_at_once(self) -> int:
        return rows_at_once(self.voices.vocabulary)

    def said(self, rows: Rows) -> Callable[[slice], Tensor]:
        hidden = self.reader.hidden(self.reader.of(rows))
        return lambda chunk: self.voices.logits(hidden, chunk, self.temperature)

    def measured(self, logits_nV: Tensor, said: Tensor, targets_n: Tensor) -> dict[str, Tensor]:
        teacher_nV, shared = said, said.shape[1]
        log_q_nV = log_softmax(logits_nV[:, :shared] / self.temperature, dim=-1)
        log_p_nV = log_softmax(teacher_nV / self.temperature, dim=-1)
        found = {
            "loss": loss_of_rows(logits_nV, targets_n),
            "kl": (log_p_nV.exp() * (log_p_nV - log_q_nV)).sum(dim=-1).clamp(min=0),
            "agreement": (log_q_nV.argmax(dim=-1) == log_p_nV.argmax(dim=-1)).float(),
        }
        if self.objective is not None:
            every_n = torch.ones(len(targets_n), dtype=torch.bool, device=targets_n.device)
            total = self.objective(logits_nV[:, :shared], teacher_nV, every_n, temperature=self.temperature)
            found["kd_loss"] = total.expand(len(targets_n)) / len(targets_n)
        return found


@dataclass(frozen=True)
class TextsAlone:
    """No teacher: a model's loss is all."""

    vocabulary: int
    precision: Precision
    measures: tuple[str, ...] = ("loss",)

    @property
    def rows_at_once(self) -> int:
        return rows_at_once(self.vocabulary)

    def said(self, rows: Rows) -> Said:
        return lambda chunk: None

    def measured(self, logits_nV: Tensor, said: None, targets_n: Tensor) -> dict[str, Tensor]:
        return {"loss": loss_of_rows(logits_nV, targets_n)}


def loss_of_rows(logits_nV: Tensor, targets_n: Tensor) -> Tensor:
    """Return the cross-entropy of each row, [n], in nats."""
    return -log_softmax(logits_nV, dim=-1).gather(1, targets_n[:, None])[:, 0]


@torch.no_grad()
def tallies(
    models: Mapping[str, nn.Module],
    scripts: Mapping[str, Scripts],
    rows: Rows,
    yardstick: Measuring,
    pulse: Callable[[int], None],
    *,
    mixture: str | None = None,
) -> dict[str, Tally]:
    """Measure several models at once; the teachers read each example once for all of them.

    Modes of the models (training or not) are as before when this returns, and no random number is drawn.

    Args:
        scripts: how each model reads the examples; the targets are the same for all.
        mixture: the name under which the teachers together are measured as well.
    """
    kept = next(iter(scripts.values())).kept(rows)
    names = [*models, *([mixture] if mixture is not None else [])]
    found = {name: {measure: np.zeros(len(rows)) for measure in yardstick.measures} for name in names}
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
    yardstick: Measuring,
    mixture: str | None,
) -> Iterator[tuple[slice, dict[str, dict[str, Tensor]]]]:
    """Yield each chunk of the batch's kept tokens with every model's measures [n]."""
    batches = {name: on_device(scripts[name].script(rows)) for name in models}
    targets_N = next(iter(batches.values()))["targets"]
    teachers_say = yardstick.said(rows)
    own = {
        name: last_hidden(model, batches[name]["texts"], batches[name]["predicts"], yardstick.precision)
        for name, model in models.items()
    }
    step = yardstick.rows_at_once
    for start in range(0, len(targets_N), step):
        chunk = slice(start, min(start + step, len(targets_N)))
        said, measured = teachers_say(chunk), {}
        for name, model in models.items():
            with autocast(yardstick.precision):
                logits_nV = head_of(model)(own[name][chunk])
            measured[name] = yardstick.measured(logits_nV.float(), said, targets_N[chunk])
        if mixture is not None:
            measured[mixture] = yardstick.measured(said, said, targets_N[chunk])
        yield chunk, measured


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
