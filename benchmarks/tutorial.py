"""Distillation as tutorials do it: transformers.Trainer, the teacher in compute_loss at every step.

    python -m benchmarks.tutorial WORK.json

reads where the models and texts are, trains, and prints what it took as JSON. `padding` is "max_length", as most
tutorials write it, or "longest".
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


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
    work = json.loads(Path(sys.argv[1]).read_text())
    tokenizer = AutoTokenizer.from_pretrained(work["teacher"])
    teacher = AutoModelForSequenceClassification.from_pretrained(work["teacher"])
    student = AutoModelForSequenceClassification.from_pretrained(work["student"])
    lines = [json.loads(line) for line in Path(work["texts"]).read_text().splitlines()]
    padding = "max_length" if work["padding"] == "max_length" else False

    def encode(part: str) -> list[dict[str, Any]]:
        some = [line for line in lines if line["split"] == part]
        encoded = tokenizer(
            [line["text"] for line in some], truncation=True, max_length=work["max_length"], padding=padding
        )
        label2id = teacher.config.label2id
        return [
            {**{name: encoded[name][at] for name in encoded}, "labels": label2id[line["label"]]}
            for at, line in enumerate(some)
        ]

    arguments = TrainingArguments(
        output_dir=work["folder"],
        num_train_epochs=work["epochs"],
        per_device_train_batch_size=work["batch_size"],
        learning_rate=work["learning_rate"],
        warmup_steps=work["warmup_steps"],
        weight_decay=0.01,
        seed=work["seed"],
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_strategy="no",
    )
    train, test = encode("train"), encode("test")
    trainer = TutorialTrainer(
        model=student,
        args=arguments,
        train_dataset=train,
        data_collator=DataCollatorWithPadding(tokenizer),
        teacher=teacher,
        temperature=work["T"],
        alpha=work["alpha"],
    )
    began, worked = time.monotonic(), time.process_time()
    trainer.train()
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - worked
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "kl": held_out_kl(trainer, test, tokenizer)}))


@torch.inference_mode()
def held_out_kl(trainer: TutorialTrainer, test: list[dict[str, Any]], tokenizer: Any) -> float:
    """Mean KL(teacher || student) in nats at temperature 1."""
    trainer.model.eval()
    total, collate = 0.0, DataCollatorWithPadding(tokenizer)
    for at in range(0, len(test), 32):
        batch = dict(collate(test[at : at + 32]))
        batch.pop("labels")
        teacher = log_softmax(trainer.teacher(**batch).logits, dim=-1)
        student = log_softmax(trainer.model(**batch).logits, dim=-1)
        total += float(kl_div(student, teacher, reduction="sum", log_target=True))
    return total / len(test)


if __name__ == "__main__":
    main()
