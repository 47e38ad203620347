"""What every part of one job needs at hand: spec, folder, observer, precision, the clock and the plan."""

import logging
import time
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from core.report import Cost
from core.spec import JobSpec
from core.training import TrainingSpec
from core.wire import Stage
from worker.training.crew import Crew
from worker.training.data import Examples
from worker.training.device import device_name, precision_of
from worker.training.journey import READ_COST, TRAIN_COST, Journey
from worker.training.models import parameter_count
from worker.training.observer import Observer, stop_if_asked
from worker.training.phase import steps_of
from worker.training.teacher_cache import TeacherCache

log = logging.getLogger("distil")


class Desk:
    def __init__(
        self,
        spec: JobSpec,
        folder: Path,
        observer: Observer,
        cache: TeacherCache | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.spec, self.folder, self.observer, self.crew = spec, folder, observer, crew
        self.cache = cache or TeacherCache()
        self.precision = precision_of(spec.training.precision)
        self.journey = Journey(observer)
        self._stages: list[tuple[str, float]] = []

    @property
    def weights(self) -> list[float]:
        return [teacher.weight for teacher in self.spec.teacher_models]

    def stage(self, stage: Stage) -> None:
        """Begin a stage, unless the job is to stop, or is in it."""
        stop_if_asked(self.observer)
        if self._stages and self._stages[-1][0] == stage:
            return
        self._stages.append((stage, time.monotonic()))
        self.observer.stage(stage)
        log.info("stage: %s", stage)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far, of this attempt."""
        ends = [started for _, started in self._stages[1:]] + [time.monotonic()]
        return {name: round(end - started, 3) for (name, started), end in zip(self._stages, ends, strict=True)}

    def cost(self, steps: int) -> Cost:
        """Return what the job took up to now."""
        return Cost(
            seconds=self.seconds(),
            steps=steps,
            device=device_name(),
            precision=self.precision,
            processes=self.spec.resources.processes,
        )

    def plan(
        self, examples: Examples, teachers: list[PreTrainedModel], student: PreTrainedModel, no_baseline: str | None
    ) -> None:
        """Lay out the legs of the job with their work."""
        settings = self.spec.training
        for number, (wanted, model) in enumerate(zip(self.spec.teacher_models, teachers, strict=True)):
            if wanted.finetune is not None:
                steps = steps_of(finetune_settings(self.spec, number), len(examples.labelled_train))
                self.journey.plan(
                    f"teacher-{number}", TRAIN_COST * weight_of(model) * steps * settings.step_examples, steps
                )
        for number, model in enumerate(teachers):
            self.journey.plan(f"reading-{number}", READ_COST * weight_of(model) * len(examples))
        learned = examples.parts.train if teachers else examples.labelled_train
        steps = steps_of(settings, len(learned))
        work = TRAIN_COST * weight_of(student) * steps * settings.step_examples
        if self.spec.logits_method.hidden is not None:
            work += READ_COST * weight_of(teachers[0]) * steps * settings.step_examples
        self.journey.plan("student", work, steps)
        if no_baseline is None:
            self.journey.plan("baseline", work, steps)
        held_out = len(examples.parts.held_out)
        self.journey.plan("evaluating", READ_COST * 3 * weight_of(student) * held_out)


def finetune_settings(spec: JobSpec, number: int) -> TrainingSpec:
    """Return the job's training settings, with the epochs and learning rate for fine-tuning teacher `number`."""
    finetune = spec.teacher_models[number].finetune
    if finetune is None:
        raise ValueError(f"teacher {number} is not to be fine-tuned")
    return spec.training.model_copy(
        update={
            "epochs": float(finetune.epochs),
            "learning_rate": finetune.learning_rate,
            "max_steps": None,
            "early_stopping": None,
        }
    )


def weight_of(model: PreTrainedModel) -> float:
    """Return about how many parameters every token meets: all but the embeddings, and a floor for the loop."""
    embedded = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Embedding))
    return parameter_count(model) - embedded + 200_000.0
