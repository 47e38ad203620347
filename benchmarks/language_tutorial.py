"""A language model's distillation as tutorials do it: transformers.Trainer, the teacher in compute_loss at every step.

    python -m benchmarks.language_tutorial WORK.json

reads where the models and texts are, trains with batches padded to their longest text, and prints what it took as JSON.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax
from transformers import Trainer, TrainingArguments

from benchmarks.language_work import IGNORED, work_of
from benchmarks.work import usual_arguments


class TutorialTrainer(Trainer):
    """The usual subclass."""

    def __init__(self, *args: Any, teacher: nn.Module, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher.eval()

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any) -> Any:
        learned = inputs.pop("labels")[:, 1:] != IGNORED
        student = model(**inputs).logits[:, :-1]
        with torch.no_grad():
            teacher = self.teacher(**inputs).logits[:, :-1]
        each = kl_div(log_softmax(student, dim=-1), log_softmax(teacher, dim=-1), reduction="none", log_target=True)
        loss = each.sum(dim=-1)[learned].mean()
        return (loss, student) if return_outputs else loss


def main() -> None:
    work = work_of(sys.argv[1])
    arguments = TrainingArguments(**usual_arguments(work.given))
    trainer = TutorialTrainer(
        model=work.student,
        args=arguments,
        train_dataset=work.examples("train"),
        data_collator=work.collate,
        teacher=work.teacher,
    )
    work.measure(trainer.train)


if __name__ == "__main__":
    main()
