"""One training from start to end: resumed where an earlier attempt stopped, in smaller micro-batches where need be."""

import gc
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerState, TrainingArguments

from core.errors import OutOfMemory
from core.training import EarlyStoppingSpec, TrainingSpec
from worker.training.checkpoints import Checkpoint, newest
from worker.training.crew import Crew
from worker.training.device import Precision, device
from worker.training.goal import Course, Goal
from worker.training.journey import Journey
from worker.training.memory import is_out_of_memory
from worker.training.observer import Observer, Stopped
from worker.training.order import LengthGroupedSteps
from worker.training.pupil import Pupil
from worker.training.reading import Reader, tokenizer_of
from worker.training.sharing import Share
from worker.training.trainer import DistilTrainer, Fill, Measure
from worker.training.watch import Watch

MOST_HALVINGS = 3
POINTS_IN_A_CURVE = 500
EVALUATIONS, CHECKPOINTS = 10, 10
STEPS_BETWEEN_CHECKPOINTS = 100


@dataclass(frozen=True)
class Phase:
    """All that one training is made of. `pupil` makes it afresh, equal each time."""

    name: str
    folder: Path
    pupil: Callable[[], Pupil]
    reader: Reader
    lessons: Course
    aim: Goal
    settings: TrainingSpec
    steps: int
    precision: Precision
    measure: Measure | None = None
    early_stopping: EarlyStoppingSpec | None = None
    fill: Fill | None = None
    crew: Crew | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """What reads, for a model that reads texts."""
        return tokenizer_of(self.reader)


@dataclass(frozen=True)
class Trained:
    model: PreTrainedModel
    history: list[Mapping[str, float]]
    steps: int


def steps_of(settings: TrainingSpec, examples: int) -> int:
    """Return the number of optimizer steps: `max_steps` where it is given, else `epochs` times the data."""
    per_epoch = math.ceil(examples / settings.step_examples)
    return settings.max_steps or max(1, math.ceil(settings.epochs * per_epoch))


def train(phase: Phase, observer: Observer, journey: Journey) -> Trained:
    """Train, or finish what an earlier attempt began.

    Raises:
        Stopped: the observer asked for it; a checkpoint was kept.
        LossDiverged: the loss is no number any more.
        OutOfMemory: not even an eighth of the micro-batch fits.
    """
    micro_batches = phase.settings.gradient_accumulation
    for halvings in range(MOST_HALVINGS + 1):
        checkpoint = _checkpoint(phase, observer)
        micro_batches = max(micro_batches, checkpoint.micro_batches if checkpoint is not None else 1)
        try:
            return _attempt(phase, micro_batches, checkpoint, observer, journey)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if micro_batches >= _step_examples(phase) or halvings == MOST_HALVINGS:
                raise OutOfMemory(_numbers(phase, micro_batches, error)) from error
        observer.event(
            f"{phase.name}: {_micro_batch(phase, micro_batches)} does not fit into memory; going on with "
            f"{2 * micro_batches} micro-batches per step, which gives the same steps.",
            "warning",
        )
        micro_batches *= 2
        _free_memory()
    raise AssertionError("unreachable")


def _attempt(
    phase: Phase, micro_batches: int, checkpoint: Checkpoint | None, observer: Observer, journey: Journey
) -> Trained:
    watch = Watch(
        phase.name,
        observer,
        journey,
        phase.early_stopping if phase.measure else None,
        mixes_losses=0 < phase.aim.alpha < 1,
    )
    while True:
        pupil = phase.pupil().ready(phase.precision)
        trainer = DistilTrainer(
            pupil,
            _arguments(phase),
            phase.lessons,
            phase.aim,
            phase.reader,
            phase.measure,
            [watch],
            LengthGroupedSteps(
                phase.lessons.lengths,
                phase.settings.step_examples,
                phase.settings.seed,
                micro_batches,
                is_even=phase.settings.batch_size == "auto",
            ),
            phase.fill,
        )
        watch.trainer = trainer
        if checkpoint is None or _fits(trainer, checkpoint, phase, observer):
            break
        checkpoint = _checkpoint(phase, observer)
    if checkpoint is not None:
        journey.found(phase.name, checkpoint.step / phase.steps)
    if checkpoint is not None and checkpoint.is_final:
        state = TrainerState.load_from_json(str(checkpoint.folder / "trainer_state.json"))
    else:
        with trainer.later, _gathered(phase, trainer, checkpoint, observer):
            trainer.train(resume_from_checkpoint=str(checkpoint.folder) if checkpoint else None)
            if trainer.leader is not None and not (watch.stopped or trainer.stopped):
                trainer.make_whole(phase.pupil())
        state = trainer.state
    stopped = watch.stopped or trainer.stopped
    if stopped is not None:
        raise Stopped(stopped)
    if watch.early_stopping is not None:
        trainer.return_to_best()
    journey.move(phase.name, 1.0)
    return Trained(trainer.pupil.plain(), list(state.log_history), state.global_step)


@contextmanager
def _gathered(
    phase: Phase, trainer: DistilTrainer, checkpoint: Checkpoint | None, observer: Observer
) -> Iterator[None]:
    """Within this, the processes of the job train together, if there are several."""
    if phase.crew is None:
        yield
        return
    is_sharded = phase.crew.spreads(trainer.pupil) if checkpoint is None else checkpoint.is_sharded
    share = Share(trainer.pupil, phase.lessons, phase.aim, phase.settings.seed, phase.precision, is_sharded)
    with phase.crew.gathered(share) as trainer.ring:
        if is_sharded:
            observer.event(
                f"{phase.name}: its layers are spread over {phase.crew.size} processes; each holds a part of their "
                "weights, gradients and optimizer state."
            )
        yield


def _checkpoint(phase: Phase, observer: Observer) -> Checkpoint | None:
    checkpoint, broken = newest(phase.folder)
    for name in broken:
        observer.event(f"{phase.name}: {name} is damaged and was left out.", "warning")
    if checkpoint is not None:
        observer.event(f"{phase.name}: going on from step {checkpoint.step:,} of {phase.steps:,}.")
    elif broken:
        observer.event(f"{phase.name}: no checkpoint is whole; starting anew.", "warning")
    return checkpoint


def _fits(trainer: DistilTrainer, checkpoint: Checkpoint, phase: Phase, observer: Observer) -> bool:
    """Load the checkpoint's weights; where they are not this model's, drop it and say so."""
    try:
        trainer.load_weights(checkpoint.folder)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        observer.event(
            f"{phase.name}: {checkpoint.folder.name} cannot be loaded ({error}) and was left out.", "warning"
        )
        shutil.rmtree(checkpoint.folder)
        return False
    return True


def _arguments(phase: Phase) -> TrainingArguments:
    settings = phase.settings
    arguments = TrainingArguments(
        output_dir=str(phase.folder),
        max_steps=phase.steps,
        per_device_train_batch_size=settings.step_examples,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.scheduler == "constant" else settings.scheduler,
        warmup_steps=math.ceil(settings.warmup_ratio * phase.steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm or 0.0,
        optim="adamw_torch_fused",
        seed=settings.seed,
        bf16=phase.precision == "bf16",
        use_cpu=device().type == "cpu",
        logging_steps=max(1, math.ceil(phase.steps / POINTS_IN_A_CURVE)),
        logging_nan_inf_filter=False,
        eval_strategy="no" if phase.measure is None else "steps",
        eval_steps=settings.evaluate_every_steps or math.ceil(phase.steps / EVALUATIONS),
        save_strategy="steps",
        save_steps=settings.checkpoint_every_steps
        or max(math.ceil(phase.steps / CHECKPOINTS), STEPS_BETWEEN_CHECKPOINTS),
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one process trains on one device; replicas in threads are not wanted
    return arguments


def _free_memory() -> None:
    gc.collect()
    if device().type == "cuda":
        import torch

        torch.cuda.empty_cache()


def _micro_batch(phase: Phase, micro_batches: int) -> str:
    about = "about " if phase.settings.batch_size == "auto" else ""
    return f"a micro-batch of {about}{-(-_step_examples(phase) // micro_batches)}"


def _step_examples(phase: Phase) -> int:
    return min(phase.settings.step_examples, len(phase.lessons))


def _numbers(phase: Phase, micro_batches: int, error: BaseException) -> str:
    parameters = sum(parameter.numel() for parameter in phase.pupil().parameters())
    longest = int(phase.lessons.lengths.max())
    examples = f"texts of up to {longest} tokens" if longest > 1 else "examples"
    return (
        f"{phase.name} does not fit into memory: {parameters:,} parameters, {_micro_batch(phase, micro_batches)} "
        f"{examples} ({error})"
    )
