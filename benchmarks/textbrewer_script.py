"""The same distillation with TextBrewer's GeneralDistiller, its batches padded to their longest text.

python -m benchmarks.textbrewer_script WORK.json
"""

import sys
from functools import partial
from typing import Any

import torch
from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from benchmarks.work import work_of


def heard(_batch: Any, outputs: Any, *, is_student: bool) -> dict[str, Any]:
    """What the distiller is to take of a model's outputs."""
    return {"logits": (outputs.logits,), **({"losses": (outputs.loss,)} if is_student else {})}


def main() -> None:
    work = work_of(sys.argv[1])
    given = work.given
    loader = DataLoader(
        work.examples("train"),
        batch_size=given["batch_size"],
        shuffle=True,
        collate_fn=lambda some: dict(work.collate(some)),
        generator=torch.Generator().manual_seed(given["seed"]),
    )
    distiller = GeneralDistiller(
        TrainingConfig(output_dir=given["folder"], log_dir=None, ckpt_epoch_frequency=given["epochs"], device="cpu"),
        DistillationConfig(
            temperature=given["T"],
            kd_loss_weight=given["alpha"] * given["T"] ** 2,
            hard_label_weight=1 - given["alpha"],
        ),
        model_T=work.teacher,
        model_S=work.student,
        adaptor_T=partial(heard, is_student=False),
        adaptor_S=partial(heard, is_student=True),
    )
    optimizer = torch.optim.AdamW(work.student.parameters(), lr=given["learning_rate"], weight_decay=0.01)
    schedule = {"num_warmup_steps": given["warmup_steps"], "num_training_steps": len(loader) * given["epochs"]}
    with distiller:
        work.measure(
            lambda: distiller.train(
                optimizer,
                loader,
                num_epochs=given["epochs"],
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args=schedule,
                max_grad_norm=1.0,
                callback=None,
            )
        )


if __name__ == "__main__":
    main()
