"""How well models write, token by token, on the same held-out completions.

Legend: N kept tokens of a batch, n of them in one chunk, b of those in one block, V vocabulary, R examples.
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
from worker.training.batches import in_batches
from worker.training.device import Precision, autocast, put_on_device
from worker.training.evaluation import RESAMPLES
from worker.training.language.chunked import rows_at_once, rows_of_block, slices
from worker.training.language.models import head_of
from worker.training.language.scripts import Scripts, on_device
from worker.training.language.signal import Voices, last_hidden
from worker.training.objectives.registry import Objective
from worker.training.split import Rows

EVALUATION_BATCH = 32


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


Said = Callable[[slice], Callable[[slice], Any]]
"""What the teachers say of a chunk, and then of some of its rows, in the form in which a yardstick compares with it."""


class Measuring(Protocol):
    """What models are measured against, row by row."""

    @property
    def measures(self) -> Sequence[str]:
        """The names of what `measured` returns; `loss` is one of them."""

    @property
    def precision(self) -> Precision: ...

    @property
    def vocabulary(self) -> int:
        """Of whoever has more words."""

    def said(self, rows: Rows, /) -> Said:
        """Let the teachers read a batch of examples."""

    def measured(self, logits_bV: Tensor, said: Any, targets_b: Tensor, /) -> dict[str, Tensor]:
        """Return each measure of each row, [b]; sums over rows are what counts."""


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
    def vocabulary(self) -> int:
        return self.voices.vocabulary

    def said(self, rows: Rows) -> Callable[[slice], Callable[[slice], Tensor]]:
        hidden = self.reader.hidden(self.reader.of(rows))
        return lambda chunk: self.voices.spoken(hidden, chunk, self.temperature).mixed

    def measured(self, logits_bV: Tensor, said: Tensor, targets_b: Tensor) -> dict[str, Tensor]:
        teacher_bV, shared = said, said.shape[1]
        log_q_bV = log_softmax(logits_bV[:, :shared] / self.temperature, dim=-1)
        log_p_bV = log_softmax(teacher_bV / self.temperature, dim=-1)
        found = {
            "loss": loss_of_rows(logits_bV, targets_b),
            "kl": (log_p_bV.exp() * (log_p_bV - log_q_bV)).sum(dim=-1).clamp(min=0),
            "agreement": (log_q_bV.argmax(dim=-1) == log_p_bV.argmax(dim=-1)).float(),
        }
        if self.objective is not None:
            total = self.objective(logits_bV[:, :shared], teacher_bV, None, temperature=self.temperature)
            found["kd_loss"] = total.expand(len(targets_b)) / len(targets_b)
        return found


@dataclass(frozen=True)
class TextsAlone:
    """No teacher: a model's loss is all."""

    vocabulary: int
    precision: Precision
    measures: tuple[str, ...] = ("loss",)

    def said(self, rows: Rows) -> Said:
        return lambda chunk: lambda block: None

    def measured(self, logits_bV: Tensor, said: None, targets_b: Tensor) -> dict[str, Tensor]:
        return {"loss": loss_of_rows(logits_bV, targets_b)}


def loss_of_rows(logits_bV: Tensor, targets_b: Tensor) -> Tensor:
    """Return the cross-entropy of each row, [b], in nats."""
    return logits_bV.logsumexp(dim=-1) - logits_bV.gather(1, targets_b[:, None])[:, 0]


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
        put_on_device(model)
        model.eval()

    def read(places: NDArray[np.int64]) -> None:
        of_example = np.repeat(places, kept[places])
        for block, name, measures in list(_batch(models, scripts, rows[places], yardstick, mixture)):
            for measure, values_b in measures.items():
                np.add.at(found[name][measure], of_example[block], values_b.double().cpu().numpy())
        pulse(len(places))

    in_batches(next(iter(scripts.values())).lengths[rows], EVALUATION_BATCH, read)
    for name, model in models.items():
        model.train(modes[name])
    return {name: Tally(kept, sums) for name, sums in found.items()}


def _batch(
    models: Mapping[str, nn.Module],
    scripts: Mapping[str, Scripts],
    rows: Rows,
    yardstick: Measuring,
    mixture: str | None,
) -> Iterator[tuple[slice, str, dict[str, Tensor]]]:
    """Yield blocks of the batch's kept tokens with each model's measures [b]."""
    batches = {name: on_device(scripts[name].script(rows)) for name in models}
    targets_N = next(iter(batches.values()))["targets"]
    teachers_say = yardstick.said(rows)
    own = {
        name: last_hidden(model, batches[name]["texts"], batches[name]["predicts"], yardstick.precision)
        for name, model in models.items()
    }
    for chunk in slices(len(targets_N), rows_at_once(yardstick.vocabulary)):
        said_of, targets_n = teachers_say(chunk), targets_N[chunk]
        with autocast(yardstick.precision):
            each_nV = {name: head_of(model)(own[name][chunk]) for name, model in models.items()}
        for rows_b in slices(len(targets_n), rows_of_block(yardstick.vocabulary)):
            said, block = said_of(rows_b), slice(chunk.start + rows_b.start, chunk.start + rows_b.stop)
            for name, logits_nV in each_nV.items():
                yield block, name, yardstick.measured(logits_nV[rows_b].float(), said, targets_n[rows_b])
            if mixture is not None:
                yield block, mixture, yardstick.measured(said, said, targets_n[rows_b])


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
