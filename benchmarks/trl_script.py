"""The same distillation with TRL's GKDTrainer on the texts as they are: no generation, KL(teacher || student).

python -m benchmarks.trl_script WORK.json
"""

import os
import sys

from benchmarks.language_work import work_of
from benchmarks.work import usual_arguments

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
from datasets import Dataset
from trl.experimental.gkd import GKDConfig, GKDTrainer


def main() -> None:
    work = work_of(sys.argv[1])
    given = work.given
    arguments = GKDConfig(
        **usual_arguments(given),
        lmbda=0.0,
        beta=0.0,
        temperature=1.0,
        max_length=given["max_length"],
        bf16=given["bf16"],
        gradient_checkpointing=False,
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
