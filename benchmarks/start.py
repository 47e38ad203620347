"""How long things take to start: a small job, from its POST to its end, and the API.

    python -m benchmarks.start [--repeats 5]

The job distils a model of two small layers into one of them over 64 texts, so that nothing but the start takes time. It
is given to a worker whose training process is started when the job comes, and to one that keeps a process ready; the
service runs on embedded defaults. The section in RESULTS.md is rewritten.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.results import publish, stamp
from core.settings import Settings
from distill_client import Client
from distill_client.embedded import embedded_service
from migrations.revisions import upgrade

HEADING = "## Start (start.py)"
WORDS = ["good", "bad", "film", "the", "a", "was", "is", "very"]
COLD, WARM = "a process started for the job", "a process kept ready"
READY_SECONDS = 20.0
"""Long enough for a process to import what trains."""


@dataclass(frozen=True)
class Started:
    claimed: float
    """Seconds from POST until a training process has the job."""
    finished: float
    """Seconds from POST until the student is stored: loaded, read, heard the teacher, one step, measured, uploaded."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how long a job and the API take to start.")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_uploads(folder)
        jobs = {COLD: jobs_started(folder, repeats, is_ready=False), WARM: jobs_started(folder, repeats, is_ready=True)}
        api = [api_started(folder / f"api-{repeat}") for repeat in range(repeats)]
    publish(HEADING, section(jobs, api))
    return 0


def write_uploads(folder: Path) -> None:
    """A teacher of two small layers, and texts of two kinds."""
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a word
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder / "teacher")
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    labels: dict[str, Any] = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    config = BertConfig(vocab_size=len(vocabulary), **sizes, **labels)
    BertForSequenceClassification(config).save_pretrained(folder / "teacher")
    lines = (
        {"text": f"the film was {label} {WORDS[at % 8]}", "label": label} for at in range(32) for label in WORDS[:2]
    )
    (folder / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def jobs_started(folder: Path, repeats: int, *, is_ready: bool) -> list[Started]:
    """Submit one job after the other to a service of its own."""
    os.environ["DISTILL_READY_CHILD"] = str(is_ready).lower()
    with embedded_service(folder / f"ready-{is_ready}") as url, Client(url) as client:
        client.models.upload(folder / "teacher", "teacher")
        dataset = client.datasets.upload(folder / "texts.jsonl").id
        spec = {
            "teacher": "teacher",
            "student": {"from_teacher": {"layers": [0]}},
            "dataset": {"id": dataset, "validation": 0.0, "test": 0.25},
            "training": {"max_steps": 1},
            "evaluation": {"baseline": False},
        }
        found = []
        for repeat in range(repeats):
            time.sleep(READY_SECONDS if is_ready else 1.0)
            found.append(started(client, {**spec, "labels": {"repeat": str(repeat)}}))
            print(f"ready {is_ready}: {found[-1]}", flush=True)
    return found


def started(client: Client, spec: dict[str, Any]) -> Started:
    job = client.jobs.wait(client.jobs.submit(spec).id)
    if job.status != "succeeded" or job.report is None or job.started_at is None or job.finished_at is None:
        raise SystemExit(f"a job {job.status}: {job.error}")
    claimed = (job.started_at - job.created_at).total_seconds()
    return Started(claimed, (job.finished_at - job.created_at).total_seconds())


def api_started(data: Path) -> tuple[float, float]:
    """Seconds until the API says where it listens, and the megabytes that it then holds."""
    data.mkdir()
    settings = {"DISTILL_DATA": str(data), "DISTILL_PORT": "0", "DISTILL_BROKER_URL": "redis://127.0.0.1:1/0"}
    command, environment = [sys.executable, "-m", "service"], {**os.environ, **settings}
    upgrade(Settings(data=data).database)
    began = time.monotonic()
    service = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    try:
        assert service.stdout is not None
        service.stdout.readline()
        seconds = time.monotonic() - began
        resident = Path(f"/proc/{service.pid}/status").read_text().partition("VmRSS:")[2].split()[0]
        return seconds, int(resident) * 1024 / 1e6
    finally:
        service.kill()
        service.communicate()


def section(jobs: dict[str, list[Started]], api: list[tuple[float, float]]) -> str:
    lines = [HEADING, "", f"{stamp()}; medians of {len(api)} runs.", ""]
    lines += ["| a small job, seconds from its POST | claimed | finished |", "|---|---|---|"]
    for name, some in jobs.items():
        figures = (median(getattr(one, what) for one in some) for what in ("claimed", "finished"))
        lines.append(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    seconds, megabytes = (median(one[place] for one in api) for place in (0, 1))
    lines += ["", f"The API answers {seconds:.2f} s after its process was started, and holds {megabytes:.0f} MB then."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
