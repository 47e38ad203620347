"""The work that the scripts beside a language model's job do: the same models, tokens, loss and measure."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

IGNORED = -100
Examples = list[dict[str, list[int]]]


@dataclass
class Work:
    """What `language.py` wrote down for a script."""

    given: dict[str, Any]
    """epochs, batch_size, learning_rate, warmup_steps, max_length, seed, bf16, folder and the paths."""
    tokenizer: Any = field(init=False)
    teacher: Any = field(init=False)
    student: Any = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.given["seed"])
        self.tokenizer = AutoTokenizer.from_pretrained(self.given["teacher"])
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.teacher = AutoModelForCausalLM.from_pretrained(self.given["teacher"]).eval()
        self.student = AutoModelForCausalLM.from_pretrained(self.given["student"], dtype=torch.float32)

    def examples(self, part: str) -> Examples:
        """Tokens of prompt, completion and end; labels are those of the completion and the end."""
        lines = [json.loads(line) for line in Path(self.given["texts"]).read_text().splitlines()]
        found = []
        for line in (line for line in lines if line["split"] == part):
            prompt = self.tokenizer(line["prompt"])["input_ids"]
            completion = [*self.tokenizer(line["completion"])["input_ids"], self.tokenizer.eos_token_id]
            labels = [IGNORED] * len(prompt) + completion
            most = self.given["max_length"]
            found.append({"input_ids": (prompt + completion)[:most], "labels": labels[:most]})
        return found

    def collate(self, some: Examples) -> dict[str, Tensor]:
        """A batch, padded to its longest text."""
        ids = [torch.tensor(one["input_ids"]) for one in some]
        labels = [torch.tensor(one["labels"]) for one in some]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "attention_mask": pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
        }

    def measure(self, train: Callable[[], object]) -> None:
        """Train, and print what it took and what came out, as JSON."""
        began, worked = time.monotonic(), time.process_time()
        train()
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - worked
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "kl": self.held_out_kl()}))

    @torch.inference_mode()
    def held_out_kl(self) -> float:
        """Mean KL(teacher || student) per token of the held-out completions, in nats."""
        self.student.eval()
        total, tokens = 0.0, 0
        for example in self.examples("test"):
            batch = self.collate([example])
            learned = batch.pop("labels")[0, 1:] != IGNORED
            of_teacher, of_student = (
                log_softmax(model(**batch).logits[0, :-1][learned].float(), dim=-1)
                for model in (self.teacher, self.student)
            )
            total += float(kl_div(of_student, of_teacher, reduction="sum", log_target=True))
            tokens += int(learned.sum())
        return total / tokens


def work_of(path: str) -> Work:
    return Work(json.loads(Path(path).read_text()))
