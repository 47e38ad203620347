"""Distillation as tutorials do it: transformers.Trainer, the teacher in compute_loss at every step.

    python -m benchmarks.tutorial WORK.json

reads where the models and texts are, trains, and prints what it took as JSON. `padding` is "max_length", as most
tutorials write it, or "longest". With an `order`, places of texts for all epochs, it reads them so.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from transformers import Trainer, TrainingArguments

from benchmarks.work import usual_arguments, work_of


class TutorialTrainer(Trainer):
    """The usual subclass."""

    def __init__(self, *args: Any, teacher: nn.Module, temperature: float, alpha: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher, self.temperature, self.alpha = teacher.eval(), temperature, alpha

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any) -> Any:
        labels = inputs.pop("labels")
        student = model(**inputs).logits
        with torch.no_grad():
            teacher = self.teacher(**inputs).logits
        soft = kl_div(
            log_softmax(student / self.temperature, dim=-1),
            softmax(teacher / self.temperature, dim=-1),
            reduction="batchmean",
        )
        loss = self.alpha * self.temperature**2 * soft + (1 - self.alpha) * cross_entropy(student, labels)
        return (loss, student) if return_outputs else loss


def main() -> None:
    work = work_of(sys.argv[1])
    given = work.given
    examples, changes = work.examples("train"), {}
    if "order" in given:
        examples = [examples[place] for place in given["order"]]
        changes = {"num_train_epochs": 1, "train_sampling_strategy": "sequential"}
    trainer = TutorialTrainer(
        model=work.student,
        args=TrainingArguments(**{**usual_arguments(given), **changes}),
        train_dataset=examples,
        data_collator=work.collate,
        teacher=work.teacher,
        temperature=given["T"],
        alpha=given["alpha"],
    )
    work.measure(trainer.train)


if __name__ == "__main__":
    main()
