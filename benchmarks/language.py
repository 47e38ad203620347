"""How long a language model's distillation takes: a job of this service beside the usual tutorial and TRL.

    python -m benchmarks.language [--repeats 3] [--texts 64]

Teacher: SmolLM2-135M-Instruct. Student: 28 M of the same kind with random weights and the same 49,152 words. A prompt
is a sentence of a newspaper editorial, a completion the sentences that follow, up to a length that is drawn:
log-normal, median 90 tokens. KL over the whole vocabulary on the completions' tokens, T = 1, alpha = 1, batch 8, 3
epochs, the same number of optimizer steps and the same learning rate for all. Runs are interleaved, each repeat with a
seed of its own; the medians are compared and the section in RESULTS.md is rewritten.
"""

import argparse
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.memory import SHAPES, VOCABULARY
from benchmarks.peak import LEARNING, READING, layer_weights, share
from benchmarks.race import ALONE, DYNAMIC, OURS, Runs, Way, as_job, as_script, raced, table
from benchmarks.results import publish, stamp
from distill_client import Client
from distill_client.embedded import embedded_service
from distill_client.shapes import Json
from examples.movie_reviews.fetch import fetch
from examples.smollm.fetch import TEXTS, read_editorials, teacher

HEADING = "## Speed of a language model's distillation (language.py)"
MEDIAN_TOKENS, SPREAD, FEWEST, MOST = 90, 0.7, 16, 400
KEYS = 1 / 3
"""Width of keys and values beside that of queries, in teacher and student."""
HELD_OUT = 24
TRAINING: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "max_length": 512, "seed": 42}
WARMUP = 0.06
PEER, PEER_BF16 = "TRL's GKDTrainer", "TRL's GKDTrainer, bf16"


def texts(editorials: Sequence[Sequence[str]], tokenizer: Any, count: int, seed: int = 0) -> Iterator[Json]:
    """A sentence as prompt, and what follows it as completion, up to a number of tokens that is drawn."""
    draw = random.Random(seed)  # noqa: S311 - a draw that anyone can repeat
    for place in range(count):
        wanted = min(MOST, max(FEWEST, round(math.exp(draw.gauss(math.log(MEDIAN_TOKENS), SPREAD)))))
        sentences: list[str] = []
        while sum(len(sentence) for sentence in sentences[1:]) < 8 * wanted:
            sentences += draw.choice(editorials)
        ids = tokenizer(" " + " ".join(sentences[1:]))["input_ids"][:wanted]
        split = "test" if place < HELD_OUT else "train"
        yield {"prompt": sentences[0], "completion": tokenizer.decode(ids), "split": split}


def student(tokenizer: Any, folder: Path) -> Path:
    """The student with its random weights, for all."""
    torch.manual_seed(0)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    heads = {"num_key_value_heads": 2, "tie_word_embeddings": True}
    model = LlamaForCausalLM(LlamaConfig(**SHAPES["student"], **heads, **ids, vocab_size=VOCABULARY))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def spec_of(dataset: str) -> Json:
    """The job that is raced."""
    return {
        "task": "text-generation",
        "teacher": "language-teacher",
        "student": "language-student",
        "dataset": {"id": dataset, "validation": 0.0, "test": 0.0, "columns": {"split": "split"}},
        "T": 1.0,
        "alpha": 1.0,
        "method": {"type": "logits", "divergence": "forward_kl"},
        "training": {**TRAINING, "warmup_ratio": WARMUP},
        "evaluation": {"baseline": False},
    }


def operations(read: int, kept: int, epochs: int) -> float:
    """Floating-point operations of the matrix products that `read` tokens, `kept` of them to learn, need.

    The teacher's body reads once; its head speaks in every epoch, from the states that were kept.
    """
    of = {name: one["num_hidden_layers"] * _layer(one) for name, one in SHAPES.items()}
    heads = {name: one["hidden_size"] * VOCABULARY for name, one in SHAPES.items()}
    learning = LEARNING * (of["student"] * read + heads["student"] * kept)
    return epochs * (learning + READING * heads["teacher"] * kept) + READING * of["teacher"] * read


def _layer(one: dict[str, int]) -> float:
    return layer_weights(one["hidden_size"], one["intermediate_size"], matrices=3, keys=KEYS)


def prepared(client: Client, assets: Path, folder: Path, count: int) -> tuple[Json, str]:
    """The work as the scripts read it, and the data set's id in the service, where both models are uploaded as well."""
    from_where = teacher(assets)
    tokenizer = AutoTokenizer.from_pretrained(from_where)
    lines = list(texts(read_editorials(fetch(TEXTS, assets)), tokenizer, count + HELD_OUT))
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    start = student(tokenizer, folder / "student")
    client.models.upload(from_where, "language-teacher")
    client.models.upload(start, "language-student")
    train = [line for line in lines if line["split"] == "train"]
    kept = sum(len(tokenizer(line["completion"])["input_ids"]) + 1 for line in train)
    read = kept + sum(len(tokenizer(line["prompt"])["input_ids"]) for line in train)
    steps = math.ceil(count / TRAINING["batch_size"]) * TRAINING["epochs"]
    work = {
        "teacher": str(from_where),
        "student": str(start),
        "texts": str(file),
        "tokens": kept * TRAINING["epochs"],
        "operations": operations(read, kept, TRAINING["epochs"]),
        "warmup_steps": math.ceil(WARMUP * steps),
        "bf16": False,
        **TRAINING,
    }
    return work, client.datasets.upload(file).id


def measured(folder: Path, assets: Path, count: int, repeats: int) -> tuple[Runs, Json]:
    """Race the tutorial, TRL where it is installed, and a job."""
    with embedded_service(folder / "service") as url, Client(url) as client:
        work, dataset = prepared(client, assets, folder, count)
        spec = spec_of(dataset)
        ways: dict[str, Way] = {
            DYNAMIC: lambda repeat: as_script("language_tutorial", work, repeat),
            OURS: lambda repeat: as_job(client, spec, repeat),
        }
        if find_spec("trl") is not None:
            ways[PEER] = lambda repeat: as_script("trl_script", work, repeat)
            ways[PEER_BF16] = lambda repeat: as_script("trl_script", work, repeat, bf16=True)
        return raced(ways, repeats), work


def section(runs: Runs, work: Json, count: int) -> str:
    lines = [
        HEADING,
        "",
        f"{stamp()}; {count} texts with {work['tokens'] // work['epochs']:,} tokens to learn;",
        f"medians of {len(runs[OURS])} interleaved runs.",
        "Seconds are those of the training loop and the teacher's reading; start-up apart.",
        "",
        *table(runs, DYNAMIC, work["tokens"], "tokens"),
        share(work["operations"], [run.seconds for run in runs[OURS]]),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how long a language model's distillation takes.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="for the assets")
    chosen = parser.parse_args()
    assets = chosen.folder / "smollm"
    assets.mkdir(parents=True, exist_ok=True)
    os.environ |= ALONE
    with tempfile.TemporaryDirectory() as scratch:
        runs, work = measured(Path(scratch), assets, chosen.texts, chosen.repeats)
    publish(HEADING, section(runs, work, chosen.texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
