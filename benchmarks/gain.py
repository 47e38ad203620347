"""What the teacher brings over labels alone: the demo's case over several seeds, through the public API.

    python -m benchmarks.gain [--seeds 42 43 44]

starts a service of its own, runs one job after the other, prints the table and rewrites its section of RESULTS.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev

from benchmarks.results import publish, stamp
from distill_client import Client
from distill_client.cli.demo import fetch_assets
from distill_client.embedded import embedded_service
from distill_client.shapes import Job, Quality, Report

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "movie_reviews"
HEADING = "## Gain over labels alone (gain.py)"


def run_seed(client: Client, folder: Path, seed: int) -> Job:
    """Run the demo's job with data and weights drawn by `seed`. Raises SystemExit unless it succeeds."""
    assets = fetch_assets(EXAMPLE, folder / "assets", seed)
    spec = json.loads((EXAMPLE / "job.json").read_text(encoding="utf-8"))
    spec["dataset"]["id"] = client.datasets.upload(assets.dataset, f"movie-reviews-{seed}").id
    spec["training"]["seed"] = seed
    spec["output"]["model"] = f"movie-reviews-small-{seed}"
    job = client.jobs.wait(client.jobs.submit(spec).id)
    if job.status != "succeeded" or job.report is None:
        raise SystemExit(f"seed {seed}: the job {job.status}: {job.error}")
    print(f"seed {seed}: {job.report.verdict}", flush=True)
    return job


def run(seeds: Sequence[int], folder: Path) -> list[Job]:
    """Run all seeds on a fresh service."""
    data = folder / f"benchmark-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with embedded_service(data) as url, Client(url) as client:
        teacher = fetch_assets(EXAMPLE, folder / "assets", seeds[0]).teacher
        client.models.upload(teacher, json.loads((EXAMPLE / "job.json").read_text())["teacher"]["model"])
        return [run_seed(client, folder, seed) for seed in seeds]


def section(jobs: Sequence[Job], seeds: Sequence[int]) -> str:
    """The section as Markdown."""
    reports = [job.report for job in jobs if isinstance(job.report, Report)]
    models: dict[str, Callable[[Report], Quality | None]] = {
        "teacher, fine-tuned on the 500 labels": lambda one: one.teacher,
        "student on labels alone": lambda one: one.baseline,
        "student, distilled": lambda one: one.student_after,
    }
    lines = [
        HEADING,
        "",
        f"{stamp()}; seeds {', '.join(map(str, seeds))};",
        "mean ± standard deviation over the seeds, each of which draws the 500 labelled and the 2,000 held-out",
        "snippets as well as the weights.",
        "Baseline and distilled student have the same start, batch size, schedule and number of steps.",
        "",
        "| model | accuracy % | macro F1 % | agreement with teacher % | parameters | size MB | latency ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, pick in models.items():
        found = [one for one in map(pick, reports) if one is not None]
        lines.append(f"| {title} | {' | '.join(_cells(found))} |")
    gains = [100 * report.gain.accuracy for report in reports if report.gain is not None]
    lines += ["", f"Gain in accuracy: {spread(gains)} points. Running time per job: {spread(_seconds(jobs), 0)} s."]
    return "\n".join(lines) + "\n"


def _cells(found: Sequence[Quality]) -> list[str]:
    shares = [[getattr(one, name) for one in found] for name in ("accuracy", "macro_f1", "agreement")]
    cells = [spread([100 * share for share in column]) for column in shares]
    cells.append(f"{found[0].parameters:,}")
    cells.append(f"{mean(one.bytes or 0 for one in found) / 1e6:.1f}")
    cells.append(f"{mean(one.latency_ms or 0 for one in found):.1f}")
    return cells


def _seconds(jobs: Sequence[Job]) -> list[float]:
    return [(job.finished_at - job.started_at).total_seconds() for job in jobs if job.started_at and job.finished_at]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation; of one value there is no deviation."""
    if len(values) < 2:
        return f"{mean(values):.{digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the demo's gain over several seeds.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="for the assets and the service's data")
    chosen = parser.parse_args()
    jobs = run(chosen.seeds, chosen.folder)
    publish(HEADING, section(jobs, chosen.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
