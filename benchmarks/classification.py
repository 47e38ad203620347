"""How long a classifier's distillation takes: a job of this service beside the usual tutorial, on the same work.

    python -m benchmarks.classification [--repeats 3] [--examples 960]

Teacher: MiniLM (22.7 M), fine-tuned. Student: three of its layers. Texts of 10 to 256 tokens, log-normal, median 43.
T = 4, alpha = 0.5, batch 32, 3 epochs, the same number of optimizer steps and the same learning rate for all. Runs are
interleaved, each repeat with a seed of its own; the medians are compared and the section in RESULTS.md is rewritten.
"""

import argparse
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.peak import LEARNING, READING, first_token_encoder, share
from benchmarks.race import (
    ALONE,
    BY_TOKENS,
    DYNAMIC,
    OURS,
    TUTORIAL,
    Runs,
    Way,
    as_job,
    as_script,
    finished,
    raced,
    table,
)
from benchmarks.results import publish, stamp
from distill_client import Client
from distill_client.cli.demo import fetch_assets
from distill_client.embedded import embedded_service
from distill_client.shapes import Json

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "movie_reviews"
HEADING = "## Speed of a classifier's distillation (classification.py)"
MEDIAN_TOKENS, SPREAD, FEWEST, MOST = 43, 0.75, 10, 256
LAYERS = [0, 2, 4]
TEACHER_LAYERS, WIDTH, FEED_FORWARD = 6, 384, 1536
HELD_OUT = 400
TRAINING: dict[str, Any] = {"epochs": 3, "batch_size": 32, "learning_rate": 2e-4, "max_length": MOST, "seed": 42}
T, ALPHA, WARMUP = 4.0, 0.5, 0.06
PEERS = {
    "textbrewer": ("TextBrewer, padded to the longest", "textbrewer_script"),
    "modelopt": ("ModelOpt, padded to the longest", "modelopt_script"),
}
"""By the package that a peer is: what it is called here, and the script that does the work with it."""


def texts(snippets: Sequence[dict[str, Any]], tokenizer: Any, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Snippets of one feeling, one after the other, up to a length that is drawn."""
    draw = random.Random(seed)  # noqa: S311 - a draw that anyone can repeat
    by_label = {label: [one["text"] for one in snippets if one["label"] == label] for label in ("negative", "positive")}
    for place in range(count):
        label = draw.choice(["negative", "positive"])
        wanted = min(MOST, max(FEWEST, round(math.exp(draw.gauss(math.log(MEDIAN_TOKENS), SPREAD)))))
        text = ""
        while len(tokenizer(text)["input_ids"]) < wanted:
            text = f"{text} {draw.choice(by_label[label])}".strip()
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][: wanted - 2]
        yield {"text": tokenizer.decode(ids), "label": label, "split": "test" if place < HELD_OUT else "train"}


def taught(client: Client, assets: Any, folder: Path) -> Path:
    """The teacher, fine-tuned as a job's first stage and taken from its artifacts."""
    spec = {
        "teacher": {"model": "minilm", "finetune": {"epochs": 4, "learning_rate": 5e-5}},
        "student": {"from_teacher": {"layers": LAYERS}},
        "dataset": {
            "id": client.datasets.upload(assets.dataset).id,
            "validation": 0.0,
            "test": 0.0,
            "columns": {"split": "split"},
        },
        "training": {"max_steps": 1, "max_length": 64},
        "evaluation": {"baseline": False},
    }
    job = finished(client, spec)
    client.jobs.download_folder(job.id, folder, "teacher/")
    return folder


def spec_of(dataset: str) -> Json:
    """The job that is raced."""
    return {
        "teacher": "speed-teacher",
        "student": {"from_teacher": {"layers": LAYERS}},
        "dataset": {"id": dataset, "validation": 0.0, "test": 0.0, "columns": {"split": "split"}},
        "T": T,
        "alpha": ALPHA,
        "training": {**TRAINING, "warmup_ratio": WARMUP},
        "evaluation": {"baseline": False},
    }


def section(runs: Runs, work: Json, examples: int) -> str:
    lines = [
        HEADING,
        "",
        f"{stamp()}; {examples} texts, median {MEDIAN_TOKENS} tokens; medians of {len(runs[OURS])}",
        "interleaved runs. Seconds are those of the training loop and the teacher's reading; start-up apart.",
        "",
        *table(runs, TUTORIAL, examples * TRAINING["epochs"], "examples"),
        share(work["operations"], [run.seconds for run in runs[OURS]]),
    ]
    return "\n".join(lines) + "\n"


def student_of(teacher: Path, folder: Path) -> Path:
    """What `from_teacher.layers` starts from, for the script."""
    model = AutoModelForSequenceClassification.from_pretrained(teacher)
    layers = model.bert.encoder.layer
    model.bert.encoder.layer = type(layers)([layers[place] for place in LAYERS])
    model.config.num_hidden_layers = len(LAYERS)
    model.save_pretrained(folder)
    return folder


def operations(learned: int, held_out: int, epochs: int) -> float:
    """Floating-point operations of the matrix products that so many tokens need; the teacher reads all of them once."""
    learning = LEARNING * first_token_encoder(len(LAYERS), WIDTH, FEED_FORWARD)
    reading = READING * first_token_encoder(TEACHER_LAYERS, WIDTH, FEED_FORWARD)
    return learned * epochs * learning + (learned + held_out) * reading


def prepared(client: Client, assets: Any, folder: Path, examples: int) -> tuple[Json, str]:
    """The work as the script reads it, and the data set's id in the service, where the teacher is uploaded as well."""
    client.models.upload(assets.teacher, "minilm")
    teacher = taught(client, assets, folder / "taught")
    client.models.upload(teacher, "speed-teacher")
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    snippets = [json.loads(line) for line in assets.dataset.read_text().splitlines()]
    lines = list(texts([one for one in snippets if one["label"]], tokenizer, examples + HELD_OUT))
    learned, held_out = (
        sum(len(tokenizer(line["text"])["input_ids"]) for line in lines if line["split"] == part)
        for part in ("train", "test")
    )
    (folder / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    work = {
        "teacher": str(teacher),
        "student": str(student_of(teacher, folder / "student")),
        "texts": str(folder / "texts.jsonl"),
        "operations": operations(learned, held_out, TRAINING["epochs"]),
        "T": T,
        "alpha": ALPHA,
        "warmup_steps": math.ceil(WARMUP * math.ceil(examples / TRAINING["batch_size"]) * TRAINING["epochs"]),
        **TRAINING,
    }
    return work, client.datasets.upload(folder / "texts.jsonl").id


def measured(folder: Path, assets: Any, examples: int, repeats: int) -> tuple[Runs, Json]:
    """Race the tutorial, the peers that are installed, and a job."""
    with embedded_service(folder / "service") as url, Client(url) as client:
        work, dataset = prepared(client, assets, folder, examples)
        spec = spec_of(dataset)
        by_tokens = {**spec, "training": {**spec["training"], "batch_size": "auto"}}
        ways: dict[str, Way] = {
            TUTORIAL: lambda repeat: as_script("tutorial", work, repeat, padding="max_length"),
            DYNAMIC: lambda repeat: as_script("tutorial", work, repeat, padding="longest"),
            OURS: lambda repeat: as_job(client, spec, repeat),
            BY_TOKENS: lambda repeat: as_job(client, by_tokens, repeat),
        }
        for package, (name, script) in PEERS.items():
            if find_spec(package) is not None:
                ways[name] = partial(as_script, script, work, padding="longest")
        return raced(ways, repeats), work


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how long a classifier's distillation takes.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--examples", type=int, default=960)
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="for the assets")
    chosen = parser.parse_args()
    assets = fetch_assets(EXAMPLE, chosen.folder / "assets", 42)
    os.environ |= ALONE
    with tempfile.TemporaryDirectory() as scratch:
        runs, work = measured(Path(scratch), assets, chosen.examples, chosen.repeats)
    publish(HEADING, section(runs, work, chosen.examples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
