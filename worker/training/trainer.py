"""The training loop is the library's; this says who counts the loss, and what a checkpoint holds."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from core.errors import LossDiverged
from worker.training import copies
from worker.training.goal import Course, Goal
from worker.training.later import Later
from worker.training.leading import Leader
from worker.training.observer import Stopped, StopReason
from worker.training.order import LengthGroupedSteps
from worker.training.pupil import Pupil
from worker.training.reading import Reader, save_reader
from worker.training.ring import Ring

Measure = Callable[[nn.Module], dict[str, float]]
"""Metrics of a model on the validation part, by name."""
Fill = Callable[[Pupil, Sequence[Mapping[str, Any]], int], list[Any]]
"""Makes the micro-batches of one optimizer step complete with what the pupil, as it is after so many steps, says.

It may raise Stopped: the steps before are kept. It draws no number from torch's generators.
"""

MODEL = "model."
"""Before the name of a parameter of the model, in the pupil."""
ONE_FILE = 1 << 60
"""Bytes of weights that a checkpoint keeps in one file."""
EXTRA = "training_only.safetensors"
BEST = "best.safetensors"


class DistilTrainer(Trainer):
    """transformers.Trainer with a loss of ours, whose sums are divided by what the whole optimizer step holds.

    A batch, to the library, is a whole optimizer step: the list of its micro-batches.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        pupil: Pupil,
        args: TrainingArguments,
        lessons: Course,
        aim: Goal,
        reader: Reader,
        measure: Measure | None,
        callbacks: list[TrainerCallback],
        steps: LengthGroupedSteps,
        fill: Fill | None = None,
    ) -> None:
        self.pupil, self.lessons, self.aim, self.reader, self.measure = pupil, lessons, aim, reader, measure
        self.steps, self.fill = steps, fill
        self.ring: Ring | None = None
        self.stopped: StopReason | None = None
        self.random_state = torch.get_rng_state()
        self.sums: dict[str, float] = {}
        self.best: dict[str, Tensor] | None = None
        self.unwritten: list[Callable[[], object]] = []
        self.later = Later()
        """Where checkpoints are sealed and stored, and from copies written, while the training goes on."""
        super().__init__(
            model=pupil,
            args=args,
            train_dataset=lessons,
            eval_dataset=lessons if measure is not None else None,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)

    @property
    def leader(self) -> Leader | None:
        """What speaks for all processes, where they have spread the pupil's layers."""
        return None if self.ring is None else self.ring.leader

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return what says the examples of each step; they are read when its turn comes."""
        lessons: Any = self.lessons
        loader: DataLoader[Any] = DataLoader(lessons, batch_sampler=self.steps, collate_fn=list)
        prepared: DataLoader[Any] = self.accelerator.prepare_data_loader(loader)
        return prepared

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return one optimizer step, as the one batch that it is to the library, and what its sums are divided by."""
        if self._owes_evaluation():
            self.evaluate()
            if self.control.should_training_stop:
                return [], {}
        parts = next(epoch_iterator)
        if self.ring is not None:
            step = self.ring.begin(parts, self.state.global_step)
            assert step is not None
            batches, counts = step.batches, step.counts
        else:
            batches = [self.lessons.collate(part) for part in parts]
            if self.fill is not None:
                try:
                    batches = self.fill(self.pupil, batches, self.state.global_step)
                except Stopped as stopped:
                    self._stop_before_step(stopped.reason)
                    return [], {}
            counts = self.aim.counts(batches)
        self._add("steps", 1)
        self._add("labelled_steps", counts["labelled"] > 0)
        return [batches], counts

    def _owes_evaluation(self) -> bool:
        """Tell whether an earlier attempt was stopped in the evaluation that belongs to the present step."""
        step = self.state.global_step
        is_due = self.measure is not None and step > 0 and step % int(self.args.eval_steps or 1) == 0
        return is_due and not any("validation/loss" in one and one["step"] == step for one in self.state.log_history)

    def _stop_before_step(self, reason: StopReason) -> None:
        """Keep what the steps before have learned, and the random state as it was after the last of them: between
        epochs the data loader has drawn from it already."""
        self.stopped = reason
        step = self.state.global_step
        is_kept = (Path(self.args.output_dir or ".") / f"checkpoint-{step}").exists()
        self.control.should_save, self.control.should_training_stop = step > 0 and not is_kept, True
        torch.set_rng_state(self.random_state)

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Compute the gradients of a whole step; return its loss."""
        loss = torch.zeros((), device=self.args.device)
        for batch in inputs:
            loss = loss + super().training_step(model, batch, num_items_in_batch)
        if self.ring is not None:
            loss = loss + self._note(self.ring.gather({}))
        self.random_state = torch.get_rng_state()
        return loss

    def compute_loss(
        self, model: nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, parts, said = self.aim.losses(model, inputs, num_items_in_batch)
        self._note({"loss": loss.item(), **{name: part.item() for name, part in parts.items()}})
        return (loss, said) if return_outputs else loss

    def _note(self, said: dict[str, float]) -> float:
        """Remember what a micro-batch, or another process's share of the step, has of the loss and its parts."""
        value = said.pop("loss", 0.0)
        if not math.isfinite(value) or abs(value) > self.aim.most:
            raise LossDiverged(self.state.global_step + 1, value)
        for name, part in said.items():
            self._add(name, part)
        return value

    def _add(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss as means over the steps since the last time (steps with a label, for ce_loss)."""
        if "loss" in logs and self.sums:
            labelled_steps, steps = self.sums.pop("labelled_steps"), self.sums.pop("steps")
            for name, total in self.sums.items():
                over = labelled_steps if name == "ce_loss" else steps
                if over:
                    logs[name] = total / over
            self.sums = {}
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Measure the model on the validation part.

        No data loader is made and no random number drawn: how often this happens does not change what is learned.
        Where a stop is asked for meanwhile, what was learned is kept, and the next attempt measures it first.
        """
        if self.measure is None:
            return {}
        try:
            with self.leader.lent() if self.leader is not None else nullcontext():
                found = {f"validation/{name}": value for name, value in self.measure(self.pupil.model).items()}
        except Stopped as stopped:
            self.stopped = stopped.reason
            self.control.should_save = self.control.should_training_stop = True
            return {}
        self.log(dict(found))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        if self.leader is not None:
            self.leader.lead(optimizer)
        return optimizer

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if self.leader is not None:
            return self.leader.clip(self.args.max_grad_norm)
        return super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """A gradient that is not a number would make the weights so, one step before the loss shows it."""
        if self.leader is not None:
            grad_norm = self.leader.norm
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        if not math.isfinite(float(norm)):
            raise LossDiverged(self.state.global_step + 1, float("nan"))
        return norm

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write a folder that plain transformers loads, and beside it what only the training needs."""
        # The checkpoint before is whole now, so that clearing old ones away cannot take the last whole one.
        self.later.wait()
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        self.unwritten = []
        plain, extra, best = self.pupil.plain(), self.pupil.extra_state, self.best
        named: dict[str, Tensor] = plain.state_dict()
        if self.leader is not None:
            spread = self.leader.whole()
            named = {name: spread.get(f"{MODEL}{name}", weights) for name, weights in named.items()}
        if copies.are_wanted():
            plain, named, extra = copies.shell_of(plain), copies.copied(named), copies.copied(extra)
        save_reader(self.reader, folder)

        def write() -> None:
            plain.save_pretrained(folder, state_dict=named, max_shard_size=ONE_FILE)
            if extra:
                save_file({name: tensor.contiguous() for name, tensor in extra.items()}, folder / EXTRA)
            if best is not None:
                save_file(best, folder / BEST)

        self._write(write)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not copies.are_wanted():
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        said = copies.copied_state(self.optimizer.state_dict())
        torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)
        self._write(lambda: torch.save(said, Path(output_dir) / OPTIMIZER_NAME))

    def _write(self, write: Callable[[], object]) -> None:
        """Write a part of a checkpoint, or leave it to whoever seals it."""
        if copies.are_wanted():
            self.unwritten.append(write)
        else:
            write()

    def rest_of_checkpoint(self) -> list[Callable[[], object]]:
        """Return what of the last checkpoint is not written yet, each part to be called once."""
        rest, self.unwritten = self.unwritten, []
        return rest

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.leader is None:  # else `load_weights` was called before the layers were spread
            self.load_weights(Path(resume_from_checkpoint))

    def load_weights(self, folder: Path) -> None:
        """Take the weights out of a checkpoint into the model in training."""
        if (folder / EXTRA).exists():
            self.pupil.load_state_dict(load_file(folder / EXTRA), strict=False)
        if not self.pupil.has_adapters:
            load_plain(self.pupil.model, folder)
        if (folder / BEST).exists():
            self.best = load_file(folder / BEST)

    def keep_best(self) -> None:
        """Remember the present weights as the best so far; checkpoints carry them."""
        learning = [(name, parameter) for name, parameter in self.pupil.named_parameters() if parameter.requires_grad]
        spread = self.leader.whole() if self.leader is not None else {}
        self.best = {
            name: spread.get(name, parameter.detach()).cpu().clone().contiguous() for name, parameter in learning
        }

    def make_whole(self, pupil: Pupil) -> None:
        """Go on with a pupil whose layers are here, such as one that has not learned yet, and these weights."""
        if self.leader is not None:
            pupil.load_state_dict(self.pupil.state_dict() | self.leader.whole())
        self.pupil = pupil

    def return_to_best(self) -> None:
        if self.best is not None:
            self.pupil.load_state_dict(self.best, strict=False)


def load_plain(model: nn.Module, folder: Path) -> None:
    """Load a checkpoint's tensors into a model; tied weights are saved once and fill both places."""
    weights = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    shared = {id(tensor) for name, tensor in model.state_dict(keep_vars=True).items() if name in weights}
    lost = [name for name in missing if id(model.state_dict(keep_vars=True)[name]) not in shared]
    if lost or unexpected:
        raise ValueError(f"the checkpoint's tensors are not the model's: {(lost + unexpected)[:3]}")
