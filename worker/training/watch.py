"""Between the library's loop and the observer: progress, metrics, checkpoints, and when to stop."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from core.training import EarlyStoppingSpec
from worker.training.checkpoints import seal
from worker.training.journey import Journey
from worker.training.observer import Observer, StopReason

if TYPE_CHECKING:
    from worker.training.trainer import DistilTrainer

LOPSIDED = 20.0
STEPS_BEFORE_JUDGING = 10
OWN_SERIES = ("loss", "kd_loss", "ce_loss", "hidden_loss", "learning_rate", "grad_norm")


class Watch(TrainerCallback):
    """Tells the observer what happens in one phase. `trainer` is set once it exists."""

    trainer: "DistilTrainer"

    def __init__(
        self,
        phase: str,
        observer: Observer,
        journey: Journey,
        early_stopping: EarlyStoppingSpec | None,
        *,
        mixes_losses: bool,
    ) -> None:
        self.phase, self.observer, self.journey, self.early_stopping = phase, observer, journey, early_stopping
        self.prefix = "" if phase == "student" else f"{phase}/"
        self.watches_balance = mixes_losses
        self.totals: dict[str, list[float]] = {"kd_loss": [], "ce_loss": []}
        self.stopped: StopReason | None = None
        self.is_early = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self.journey.move(self.phase, state.global_step / state.max_steps, state.global_step, state.epoch or 0.0)
        self.trainer.later.check()
        if not control.should_training_stop:
            self.stopped = self.observer.stop_reason()
            if self.stopped is not None:
                control.should_save = control.should_training_stop = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        named = {k: float(v) for k, v in (logs or {}).items() if k in OWN_SERIES or k.startswith("validation/")}
        if named:
            self.observer.metrics(state.global_step, {f"{self.prefix}{name}": value for name, value in named.items()})
        if self.watches_balance and "kd_loss" in named and "ce_loss" in named:
            self._judge_balance(named, state)

    def _judge_balance(self, named: Mapping[str, float], state: TrainerState) -> None:
        for name, values in self.totals.items():
            values.append(named[name])
        if state.global_step < min(STEPS_BEFORE_JUDGING, state.max_steps):
            return
        kd, ce = (sum(values) / len(values) for values in self.totals.values())
        if max(kd, ce) > LOPSIDED * max(min(kd, ce), 1e-12):
            larger, smaller, advice = ("kd_loss", "ce_loss", "lower") if kd > ce else ("ce_loss", "kd_loss", "raise")
            self.observer.event(
                f"{larger} is over {LOPSIDED:g} times {smaller} (kd_loss {kd:.3g}, ce_loss {ce:.3g}), which drowns it; "
                f"{advice} alpha if both shall count.",
                "warning",
            )
            self.watches_balance = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.early_stopping is None:
            return control
        losses = validation_losses(state.log_history)
        waited = evaluations_without_gain(losses, self.early_stopping.min_delta)
        if waited == 0:
            self.trainer.keep_best()
        # Also where a stop was asked for at this very step: an attempt after it would train on, and further than this.
        if waited >= self.early_stopping.patience and state.global_step < state.max_steps:
            self.is_early = control.should_training_stop = control.should_save = True
            self.observer.event(
                f"{self.phase}: validation loss has not improved for {waited} evaluations; "
                f"stopped at step {state.global_step:,} and went back to the best."
            )
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        folder, step = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}", state.global_step
        metrics = latest_metrics(state.log_history)
        is_final = self.is_early or step >= state.max_steps
        parts, is_sharded = self.trainer.steps.micro_batches, self.trainer.leader is not None
        unwritten = self.trainer.rest_of_checkpoint()

        def keep() -> None:
            while unwritten:
                unwritten.pop(0)()
            seal(folder, step, is_final=is_final, metrics=metrics, micro_batches=parts, is_sharded=is_sharded)
            self.observer.checkpoint(self.phase, step, folder, metrics)

        self.trainer.later.begin(keep)


def validation_losses(history: Sequence[Mapping[str, float]]) -> list[float]:
    return [entry["validation/loss"] for entry in history if "validation/loss" in entry]


def evaluations_without_gain(losses: Sequence[float], min_delta: float) -> int:
    """Return how many of the last losses in a row were no better than the best before them by more than `min_delta`."""
    best, waited = float("inf"), 0
    for loss in losses:
        if loss < best - min_delta:
            best, waited = loss, 0
        else:
            waited += 1
    return waited


def latest_metrics(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the last value of each series that a phase logged."""
    latest: dict[str, float] = {}
    for entry in history:
        latest |= {k: float(v) for k, v in entry.items() if k in OWN_SERIES or k.startswith("validation/")}
    return latest
