"""The work that the scripts beside a job do: the same models, texts, loss and measure."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

Examples = list[dict[str, Any]]


@dataclass
class Work:
    """What `classification.py` wrote down for a script."""

    given: dict[str, Any]
    """T, alpha, epochs, batch_size, learning_rate, warmup_steps, max_length, seed, padding, folder and the paths."""
    tokenizer: Any = field(init=False)
    teacher: Any = field(init=False)
    student: Any = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.given["seed"])
        self.tokenizer = AutoTokenizer.from_pretrained(self.given["teacher"])
        self.teacher = AutoModelForSequenceClassification.from_pretrained(self.given["teacher"]).eval()
        self.student = AutoModelForSequenceClassification.from_pretrained(self.given["student"])

    def examples(self, part: str) -> Examples:
        """The texts of one part as token ids, padded where the work says so."""
        lines = [json.loads(line) for line in Path(self.given["texts"]).read_text().splitlines()]
        some = [line for line in lines if line["split"] == part]
        encoded = self.tokenizer(
            [line["text"] for line in some],
            truncation=True,
            max_length=self.given["max_length"],
            padding="max_length" if self.given["padding"] == "max_length" else False,
        )
        label2id = self.teacher.config.label2id
        return [
            {**{name: encoded[name][at] for name in encoded}, "labels": label2id[line["label"]]}
            for at, line in enumerate(some)
        ]

    @property
    def collate(self) -> DataCollatorWithPadding:
        return DataCollatorWithPadding(self.tokenizer)

    def measure(self, train: Callable[[], object]) -> None:
        """Train, and print what it took and what came out, as JSON."""
        began, worked = time.monotonic(), time.process_time()
        train()
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - worked
        kl = self.held_out_kl(self.student, self.examples("test"))
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "kl": kl}))

    @torch.inference_mode()
    def held_out_kl(self, student: nn.Module, test: Examples) -> float:
        """Mean KL(teacher || student) in nats at temperature 1."""
        student.eval()
        total = 0.0
        for at in range(0, len(test), 32):
            batch = dict(self.collate(test[at : at + 32]))
            batch.pop("labels")
            of_teacher = log_softmax(self.teacher(**batch).logits, dim=-1)
            of_student = log_softmax(student(**batch).logits, dim=-1)
            total += float(kl_div(of_student, of_teacher, reduction="sum", log_target=True))
        return total / len(test)


def usual_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """What every script that trains by transformers.Trainer tells it, so that all do the same work."""
    return {
        "output_dir": given["folder"],
        "num_train_epochs": given["epochs"],
        "per_device_train_batch_size": given["batch_size"],
        "learning_rate": given["learning_rate"],
        "warmup_steps": given["warmup_steps"],
        "weight_decay": 0.01,
        "seed": given["seed"],
        "use_cpu": not torch.cuda.is_available(),
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
    }


def work_of(path: str) -> Work:
    return Work(json.loads(Path(path).read_text()))
