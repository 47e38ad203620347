"""The same distillation with TRL's GKDTrainer on the texts as they are: no generation, KL(teacher || student).

python -m benchmarks.trl_script WORK.json
"""

import os
import sys

import torch

from benchmarks.language_work import work_of

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
from datasets import Dataset
from trl.experimental.gkd import GKDConfig, GKDTrainer


def main() -> None:
    work = work_of(sys.argv[1])
    given = work.given
    arguments = GKDConfig(
        output_dir=given["folder"],
        lmbda=0.0,
        beta=0.0,
        temperature=1.0,
        max_length=given["max_length"],
        num_train_epochs=given["epochs"],
        per_device_train_batch_size=given["batch_size"],
        learning_rate=given["learning_rate"],
        warmup_steps=given["warmup_steps"],
        weight_decay=0.01,
        seed=given["seed"],
        bf16=given["bf16"],
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        logging_strategy="no",
    )
    trainer = GKDTrainer(
        model=work.student,
        teacher_model=work.teacher,
        args=arguments,
        train_dataset=Dataset.from_list(work.examples("train")),
        data_collator=work.collate,
        processing_class=work.tokenizer,
    )
    work.measure(trainer.train)


if __name__ == "__main__":
    main()
