"""What the races share: ways that do the same work, run one after the other, and the table of their medians."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from distill_client import Client
from distill_client.shapes import Job, Json

TUTORIAL, DYNAMIC = "tutorial, padded to the maximum", "tutorial, padded to the longest"
OURS, BY_TOKENS = "a job of this service", 'a job with "batch_size": "auto"'
ALONE = {"DISTILL_CACHE_BYTES": "0", "DISTILL_READY_CHILD": "false"}
"""The teacher reads anew in each repeat, and no process imports what a next job will need while one trains."""


@dataclass(frozen=True)
class Run:
    """One distillation: seconds from the first to the last step, the teacher's reading included."""

    seconds: float
    whole_seconds: float
    """With start-up, evaluation and upload; of a script, its loop alone."""
    kl: float


Runs = dict[str, list[Run]]
Way = Callable[[int], Run]
"""Does the work once; takes the number of the repeat, which its seed depends on."""


def raced(ways: Mapping[str, Way], repeats: int) -> Runs:
    """Every way, `repeats` times, one after the other."""
    runs: Runs = {}
    for repeat in range(repeats):
        for name, way in ways.items():
            runs.setdefault(name, []).append(way(repeat))
            print(f"repeat {repeat + 1}: {name}: {runs[name][-1]}", flush=True)
    return runs


def finished(client: Client, spec: Json) -> Job:
    """Submit a job and wait for it; the benchmark ends where it does not succeed."""
    job = client.jobs.wait(client.jobs.submit(spec).id)
    if job.status != "succeeded" or job.report is None:
        raise SystemExit(f"a job {job.status}: {job.error}")
    return job


def as_job(client: Client, spec: Json, repeat: int) -> Run:
    """Distil through the service."""
    training = {**spec["training"], "seed": spec["training"]["seed"] + repeat}
    job = finished(client, {**spec, "training": training, "labels": {"repeat": str(repeat)}})
    assert job.report is not None
    assert job.finished_at is not None
    stages = client.jobs.result(job.id)["report"]["cost"]["seconds"]
    return Run(
        stages["teaching"] + stages["training"],
        (job.finished_at - job.created_at).total_seconds(),
        job.report.student_after.kl_to_teacher,
    )


def as_script(module: str, work: Json, repeat: int, **changes: Any) -> Run:
    """Distil with a script of this folder in a process of its own; the last line that it prints is JSON."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.json"
        file.write_text(json.dumps({**work, **changes, "seed": work["seed"] + repeat, "folder": folder}))
        said = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000", "HF_HUB_OFFLINE": "1"},
        )
    found = json.loads(said.stdout.splitlines()[-1])
    return Run(found["seconds"], found["seconds"], found["kl"])


def table(runs: Runs, first: str, work: int, unit: str) -> list[str]:
    """Lines of a table of medians.

    Args:
        first: with whom all are compared.
        work: how much one run does, in `unit`, as "examples".
    """
    slowest = median(run.seconds for run in runs[first])
    lines = [f"| what | seconds | {unit} per second | x {first} | held-out KL |", "|---|---|---|---|---|"]
    for name, some in runs.items():
        seconds, kl = median(run.seconds for run in some), median(run.kl for run in some)
        lines.append(f"| {name} | {seconds:.1f} | {work / seconds:.0f} | {slowest / seconds:.1f} | {kl:.4f} |")
    whole = median(run.whole_seconds for run in runs[OURS])
    return [*lines, "", f"From POST to finished, a job took {whole:.1f} s."]
