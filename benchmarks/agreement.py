"""Whether a job's speed is bought with another student: the tutorial and jobs, from the same start over the same steps.

    python -m benchmarks.agreement [--examples 960]

The work is that of classification.py, without dropout, and the tutorial reads the batches that a job reads. So nothing
is drawn that could differ, and what is left is what a job does otherwise: the teacher heard once, the last layer for
the first token alone, and bf16. The section in RESULTS.md is rewritten.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from benchmarks.classification import EXAMPLE, TRAINING, prepared, spec_of
from benchmarks.race import ALONE, Run, as_job, as_script
from benchmarks.results import publish, stamp
from distill_client import Client
from distill_client.cli.demo import fetch_assets
from distill_client.embedded import embedded_service
from distill_client.shapes import Json
from worker.training.order import LengthGroupedSteps

HEADING = "## The same student (agreement.py)"
PLAIN = "tutorial, fp32"
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")


def without_dropout(model: str) -> None:
    """Change a saved model's config."""
    path = Path(model) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict.fromkeys(DROPOUTS, 0.0)))


def order_of(work: Json) -> list[int]:
    """Places of the training texts in the order in which a job learns from them, all epochs one after the other."""
    tokenizer = AutoTokenizer.from_pretrained(work["teacher"])
    lines = [json.loads(line) for line in Path(work["texts"]).read_text().splitlines()]
    texts = [line["text"] for line in lines if line["split"] == "train"]
    read = tokenizer(texts, truncation=True, max_length=TRAINING["max_length"])
    lengths = np.array([len(ids) for ids in read["input_ids"]])
    steps = LengthGroupedSteps(lengths, TRAINING["batch_size"], TRAINING["seed"])
    order: list[int] = []
    for epoch in range(TRAINING["epochs"]):
        steps.set_epoch(epoch)
        order += [int(place) for step in steps for part in step for place in part]
    return order


def section(runs: dict[str, Run], examples: int) -> str:
    plain = runs[PLAIN].kl
    lines = [
        HEADING,
        "",
        f"{stamp()}; {examples} texts, {TRAINING['epochs']} epochs, no dropout, the same start and the same steps;",
        "padded to the longest of a batch. One run of each.",
        "",
        f"| what | held-out KL | beside {PLAIN} | seconds |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {run.kl:.5f} | {100 * (run.kl / plain - 1):+.2f} % | {run.seconds:.1f} |"
        for name, run in runs.items()
    ]
    return "\n".join(lines) + "\n"


def measured(folder: Path, assets: Any, examples: int) -> dict[str, Run]:
    """The tutorial, and a job in either precision."""
    with embedded_service(folder / "service") as url, Client(url) as client:
        work, dataset = prepared(client, assets, folder, examples)
        for model in (work["teacher"], work["student"]):
            without_dropout(model)
        client.models.upload(Path(work["teacher"]), "exact-teacher")
        spec = spec_of(dataset) | {"teacher": "exact-teacher"}
        runs = {PLAIN: as_script("tutorial", work, 0, padding="longest", order=order_of(work))}
        for precision in ("fp32", "bf16"):
            training = {**spec["training"], "precision": precision}
            runs[f"a job, {precision}"] = as_job(client, {**spec, "training": training}, 0)
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the students of a job and of the usual tutorial.")
    parser.add_argument("--examples", type=int, default=960)
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="for the assets")
    chosen = parser.parse_args()
    if chosen.examples % TRAINING["batch_size"]:
        parser.error(f"--examples must be a multiple of {TRAINING['batch_size']}: the tutorial cuts epochs as one list")
    assets = fetch_assets(EXAMPLE, chosen.folder / "assets", 42)
    os.environ |= ALONE
    with tempfile.TemporaryDirectory() as scratch:
        runs = measured(Path(scratch), assets, chosen.examples)
    publish(HEADING, section(runs, chosen.examples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
