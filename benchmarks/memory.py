"""How much memory a step of a language model's distillation takes above its models: KL over all words, cross-entropy.

    python -m benchmarks.memory [--repeats 3] [--batch 8] [--lengths 256 512]

Teacher: SmolLM2-135M's shape. Student: 28 M. 49,152 words, every token learned, random weights, fp32 unless said. Each
way runs in a process of its own, which takes three steps; memory is the largest resident set above what models and
optimizer hold after the first of them. The section in RESULTS.md is rewritten.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.results import publish, stamp

HEADING = "## Memory of a language model's step (memory.py)"
PLAIN, OURS, OURS_BF16 = "logits of all tokens at once", "this service", "this service, bf16"
WAYS = {PLAIN: "plain", OURS: "ours", OURS_BF16: "ours-bf16"}
VOCABULARY = 49_152
SHAPES: dict[str, dict[str, int]] = {
    "teacher": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9},
    "student": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6},
}
STEPS = 3
LOOK_SECONDS = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the memory of a language model's step.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--way", choices=sorted(WAYS.values()), help="take the steps here and print what they took")
    chosen = parser.parse_args()
    if chosen.way is not None:
        print(json.dumps(taken(chosen.way, chosen.batch, chosen.lengths[0])))
        return 0
    found: dict[str, list[float]] = {}
    for length in chosen.lengths:
        for _ in range(chosen.repeats):
            for name, way in WAYS.items():
                found.setdefault(f"{name}|{length}", []).append(asked(way, chosen.batch, length))
    publish(HEADING, section(found, chosen.batch, chosen.lengths, chosen.repeats))
    return 0


def asked(way: str, batch: int, length: int) -> float:
    """Megabytes above the models, of one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--way", way, "--batch", str(batch), "--lengths", str(length)]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    )
    return float(json.loads(said.stdout.splitlines()[-1])["megabytes"])


def section(found: dict[str, list[float]], batch: int, lengths: list[int], repeats: int) -> str:
    lines = [
        HEADING,
        "",
        f"{stamp()}; medians of {repeats} interleaved runs.",
        "Megabytes above models and optimizer.",
        "",
    ]
    lines += ["| what | " + " | ".join(f"{batch} x {length} tokens" for length in lengths) + " |"]
    lines += ["|---" * (1 + len(lengths)) + "|"]
    for name in WAYS:
        cells = (f"{median(found[f'{name}|{length}']):,.0f}" for length in lengths)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watcher(threading.Thread):
    """Looks at the resident set every few milliseconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = resident()

    def run(self) -> None:
        while True:
            self.most = max(self.most, resident())
            time.sleep(LOOK_SECONDS)


def taken(way: str, batch: int, length: int) -> dict[str, float]:
    """Take the steps; what models and optimizer hold is looked at between them, when nothing else is there."""
    import ctypes
    import gc

    import torch

    torch.manual_seed(0)
    step = prepared(way, torch.randint(0, VOCABULARY, (batch, length)))
    step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    held, watcher = resident(), Watcher()
    watcher.start()
    for _ in range(STEPS - 1):
        step()
    return {"megabytes": (watcher.most - held) / 1e6}


def prepared(way: str, ids_BT: Any) -> Callable[[], None]:
    """Models, optimizer and texts; what is returned takes one step."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def made(shape: dict[str, int]) -> LlamaForCausalLM:
        heads = shape["num_attention_heads"]
        shared: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "num_key_value_heads": heads // 3,
            "tie_word_embeddings": True,
        }
        return LlamaForCausalLM(LlamaConfig(**shape, **shared))

    teacher, student = made(SHAPES["teacher"]).eval(), made(SHAPES["student"])
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
    loss_of = plain_loss if way == "plain" else ours_loss(teacher, "bf16" if way == "ours-bf16" else "fp32")

    def step() -> None:
        loss_of(teacher, student, ids_BT).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def plain_loss(teacher: Any, student: Any, ids_BT: Any) -> Any:
    """As it is usually written: 0.5 KL + 0.5 cross-entropy of all logits."""
    import torch
    from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

    logits_NV = student(input_ids=ids_BT).logits[:, :-1].flatten(0, 1)
    with torch.no_grad():
        teacher_NV = teacher(input_ids=ids_BT).logits[:, :-1].flatten(0, 1)
    kd = kl_div(log_softmax(logits_NV, dim=-1), softmax(teacher_NV, dim=-1), reduction="batchmean")
    return 0.5 * kd + 0.5 * cross_entropy(logits_NV, ids_BT[:, 1:].flatten())


def ours_loss(teacher: Any, precision: Any) -> Callable[[Any, Any, Any], Any]:
    """As a job computes it, without the cache of the teacher's hidden states: it reads along."""
    import torch

    from worker.training.device import autocast
    from worker.training.language.chunked import Terms, chunked_loss
    from worker.training.language.signal import Voices, full_divergence, last_hidden
    from worker.training.objectives.forward_kl import forward_kl

    voices = Voices([teacher], [1.0], VOCABULARY, precision)

    def loss(teacher: Any, student: Any, ids_BT: Any) -> Any:
        texts = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
        predicts_BT = torch.ones_like(ids_BT, dtype=torch.bool)
        predicts_BT[:, -1] = False
        targets_N = ids_BT[:, 1:].flatten()
        with torch.no_grad():
            theirs_ND = last_hidden(teacher, texts, predicts_BT, precision)
        divergence = full_divergence(voices, [theirs_ND], forward_kl, 1.0)
        with autocast(precision):
            ours_ND = last_hidden(student, texts, predicts_BT, precision)
        share = 0.5 / len(targets_N)
        return chunked_loss(ours_ND, Terms(student.lm_head, targets_N, divergence, share, share, precision))[0]

    return loss


if __name__ == "__main__":
    sys.exit(main())
