"""The same distillation with NVIDIA ModelOpt's distillation mode in transformers.Trainer, padded to the longest text.

python -m benchmarks.modelopt_script WORK.json
"""

import sys
from typing import Any

import modelopt.torch.distill as mtd
from torch import Tensor
from transformers import Trainer, TrainingArguments

from benchmarks.work import usual_arguments, work_of


class ModelOptTrainer(Trainer):
    """The loss as ModelOpt's model balances it: it reads the teacher along, and T² is in its criterion."""

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any) -> Any:
        said = model(**inputs)
        loss = model.compute_kd_loss(student_loss=said.loss)
        return (loss, said) if return_outputs else loss


def main() -> None:
    work = work_of(sys.argv[1])
    given = work.given
    heads = ("classifier", "classifier")
    mode = {
        "teacher_model": work.teacher,
        "criterion": {heads: mtd.LogitsDistillationLoss(temperature=given["T"], reduction="batchmean")},
        "loss_balancer": mtd.StaticLossBalancer([given["alpha"]]),
    }
    trainer = ModelOptTrainer(
        model=mtd.convert(work.student, mode=[("kd_loss", mode)]),
        args=TrainingArguments(**usual_arguments(given)),
        train_dataset=work.examples("train"),
        data_collator=work.collate,
    )
    work.student = trainer.model
    work.measure(trainer.train)


if __name__ == "__main__":
    main()
