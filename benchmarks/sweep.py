"""What a sweep costs: six jobs of one POST /v1/sweeps, beside the same six as jobs of their own without a cache.

    python -m benchmarks.sweep [--repeats 2] [--examples 480]

Teacher: MiniLM's shape (6 layers of 384). Student: three of its layers. Weights are random: only time is measured.
Texts of 10 to 256 words, log-normal, median 43; batch 32, 3 epochs; T = 1, 2, 4 times alpha = 0.5, 0.9; no baselines,
of which a sweep would train one and single jobs six. In each repeat a service without a cache runs three of the single
jobs, another one the sweep with an empty cache, and the first one the other three. Seconds are those of the reports'
stages: `teaching` (reading the texts, and the teacher's pass or finding it in the cache) and `training`. The section in
RESULTS.md is rewritten.
"""

import argparse
import itertools
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.results import publish, stamp
from distill_client import Client
from distill_client.embedded import embedded_service

HEADING = "## A sweep's cost (sweep.py)"
GRID: dict[str, list[float]] = {"T": [1.0, 2.0, 4.0], "alpha": [0.5, 0.9]}
POINTS = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
WORDS = 1000
MEDIAN_WORDS, SPREAD, FEWEST, MOST = 43, 0.75, 10, 256
ALLOWED_TRAININGS = 6.3
WAIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Cost:
    """Of one job."""

    teaching: float
    training: float
    whole: float
    """From claimed to finished."""


@dataclass
class Runs:
    sweeps: list[list[Cost]] = field(default_factory=list)
    singles: list[Cost] = field(default_factory=list)


def write_uploads(folder: Path, examples: int) -> None:
    words = [f"w{number}" for number in range(WORDS)]
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a word
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder / "teacher")
    labels: dict[str, Any] = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        **labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder / "teacher")
    draw = random.Random(0)  # noqa: S311 - a draw that anyone can repeat
    with (folder / "texts.jsonl").open("w") as file:
        for place in range(examples):
            length = min(MOST, max(FEWEST, round(math.exp(draw.gauss(math.log(MEDIAN_WORDS), SPREAD)))))
            line = {"text": " ".join(draw.choices(words, k=length)), "label": ["bad", "good"][place % 2]}
            file.write(json.dumps(line) + "\n")


@contextmanager
def running_service(folder: Path, uploads: Path, cache_bytes: int) -> Iterator[tuple[Client, dict[str, Any]]]:
    """A service of its own, and the spec that its jobs have in common."""
    os.environ["DISTILL_CACHE_BYTES"] = str(cache_bytes)
    with embedded_service(folder) as url, Client(url) as client:
        client.models.upload(uploads / "teacher", "teacher")
        yield (
            client,
            {
                "teacher": "teacher",
                "student": {"from_teacher": {"layers": [0, 2, 4]}},
                "dataset": {"id": client.datasets.upload(uploads / "texts.jsonl").id, "validation": 0.0, "test": 0.1},
                "training": {"epochs": 3, "batch_size": 32, "max_length": MOST, "seed": 42},
                "evaluation": {"baseline": False},
            },
        )


def cost_of(client: Client, job_id: str) -> Cost:
    job = client.jobs.wait(job_id)
    if job.status != "succeeded" or job.started_at is None or job.finished_at is None:
        raise SystemExit(f"a job {job.status}: {job.error}")
    stages = client.jobs.result(job_id)["report"]["cost"]["seconds"]
    print(stages, flush=True)
    return Cost(stages["teaching"], stages["training"], (job.finished_at - job.started_at).total_seconds())


def singles(client: Client, spec: dict[str, Any], points: Sequence[dict[str, float]]) -> list[Cost]:
    return [cost_of(client, client.jobs.submit({**spec, **point}).id) for point in points]


def swept(client: Client, spec: dict[str, Any]) -> list[Cost]:
    sweep = client.sweeps.wait(client.sweeps.submit(spec, GRID).id, WAIT_SECONDS)
    return [cost_of(client, point.job_id or "") for point in sweep.points]


def measured(folder: Path, repeats: int) -> Runs:
    runs = Runs()
    half = len(POINTS) // 2
    for repeat in range(repeats):
        with running_service(folder / f"alone-{repeat}", folder, 0) as (alone, spec):
            runs.singles += singles(alone, spec, POINTS[:half])
            with running_service(folder / f"sweep-{repeat}", folder, 1 << 30) as (client, shared):
                runs.sweeps.append(swept(client, shared))
            runs.singles += singles(alone, spec, POINTS[half:])
    return runs


def section(runs: Runs, examples: int) -> str:
    repeats = len(runs.sweeps)
    jobs = len(POINTS)
    lines = [
        HEADING,
        "",
        f"{stamp()}; {examples} texts, median {MEDIAN_WORDS} words; medians of",
        f"{repeats} runs, each between the halves of its single jobs.",
        "",
        "| seconds | teaching | training | claimed to finished |",
        "|---|---|---|---|",
    ]
    stages = ("teaching", "training", "whole")
    for number in range(jobs):
        cells = (f"{median(getattr(sweep[number], stage) for sweep in runs.sweeps):.2f}" for stage in stages)
        lines.append(f"| job {number + 1} of the sweep | {' | '.join(cells)} |")
    summed = {stage: median(sum(getattr(one, stage) for one in sweep) for sweep in runs.sweeps) for stage in stages}
    lines.append(f"| the sweep's {jobs} jobs | " + " | ".join(f"{summed[stage]:.2f}" for stage in stages) + " |")
    alone = {stage: jobs * median(getattr(one, stage) for one in runs.singles) for stage in stages}
    lines.append(f"| {jobs} jobs without a cache | " + " | ".join(f"{alone[stage]:.2f}" for stage in stages) + " |")
    lines += ["", *verdict(runs)]
    return "\n".join(lines) + "\n"


def verdict(runs: Runs) -> Iterator[str]:
    """The sweep's cost in teacher passes and trainings: its own, and those of the single jobs."""
    jobs, training = len(POINTS), median(one.training for one in runs.singles)
    later = median(
        sum(one.teaching for one in sweep[1:]) / median(one.training for one in sweep) for sweep in runs.sweeps
    )
    beside = median(median(one.training for one in sweep) for sweep in runs.sweeps) / training
    whole = median(sum(one.whole for one in sweep) for sweep in runs.sweeps)
    alone = jobs * median(one.whole for one in runs.singles)
    yield f"The sweep costs one teaching and {jobs + later:.2f} of its trainings (aim: {ALLOWED_TRAININGS})."
    yield f"One of its trainings takes {beside:.2f} of the time of a single job's: the same work, so what differs"
    yield f"from 1 is the machine's other load. From claim to finish it takes {whole / alone:.2f} of the single jobs."


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a sweep costs beside its jobs one by one.")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--examples", type=int, default=480)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_uploads(folder, chosen.examples)
        runs = measured(folder, chosen.repeats)
    publish(HEADING, section(runs, chosen.examples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
