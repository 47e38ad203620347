"""Hinton's experiment on MNIST through the public API: a teacher on labels alone, then its student, and the table.

    python examples/hinton_mnist/run.py [--folder .demo/mnist] [--url URL]

Starts a service of its own unless `--url` names a running one. It fails unless the distilled student makes at least
15 % fewer errors than the same student on labels alone.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_client import Client
from distill_client.embedded import embedded_service
from distill_client.shapes import Job, Json, Quality, Report

HERE = Path(__file__).resolve().parent
FEWER_ERRORS = 0.15


def fetched(folder: Path) -> Path:
    """The data set's zip. Raises SystemExit with the reason where it cannot be fetched."""
    command = [sys.executable, str(HERE / "fetch.py"), "--folder", str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SystemExit(answer.stderr.strip())
    return Path(json.loads(answer.stdout)["dataset"])


@contextmanager
def service(url: str | None, folder: Path) -> Iterator[str]:
    """The URL of the service that is asked for, or of one that is started for this run."""
    if url is not None:
        yield url
        return
    with embedded_service(folder / f"run-{time.strftime('%Y%m%d-%H%M%S')}") as own:
        yield own


def run(client: Client, file: str, dataset: str, teacher: str | None, seed: int) -> Job:
    """Run one of the two jobs. Raises SystemExit unless it succeeds."""
    spec: Json = json.loads((HERE / file).read_text(encoding="utf-8"))
    spec["dataset"]["id"] = dataset
    spec["training"]["seed"] = seed
    spec["teacher"] = teacher
    del spec["output"]  # the job's id names its student, so that the example can be run again on one service
    job = client.jobs.submit(spec)
    say(f"{spec['name']}: {job.id}")
    job = client.jobs.wait(job.id)
    if job.status != "succeeded" or job.report is None:
        raise SystemExit(f"{job.id} {job.status}: {job.error}\n{client.jobs.logs(job.id, 20)}")
    say(f"  {seconds_of(job):.0f} s. {job.report.verdict}")
    return job


def seconds_of(job: Job) -> float:
    assert job.started_at is not None
    assert job.finished_at is not None
    return (job.finished_at - job.started_at).total_seconds()


def table(report: Report) -> list[str]:
    """The report's own numbers as Markdown: how many of the test images each network gets wrong."""
    named = {
        "teacher": report.teacher,
        "student on labels alone": report.baseline,
        "student, distilled": report.student_after,
    }
    lines = ["| network | parameters | test errors | accuracy |", "|---|---|---|---|"]
    for name, quality in named.items():
        assert quality is not None, "the job has a teacher and a baseline"
        lines.append(
            f"| {name} | {quality.parameters:,} | {errors_of(quality)} | {100 * (quality.accuracy or 0):.2f} % |"
        )
    return lines


def errors_of(quality: Quality | None) -> int:
    assert quality is not None
    assert quality.errors is not None
    return quality.errors


def is_as_promised(report: Report) -> bool:
    """Tell whether the order is the paper's, and the distilled student makes clearly fewer errors."""
    teacher, alone, distilled = (errors_of(one) for one in (report.teacher, report.baseline, report.student_after))
    return teacher < distilled <= (1 - FEWER_ERRORS) * alone


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run Hinton's experiment on MNIST.")
    parser.add_argument("--folder", type=Path, default=Path(".demo/mnist"), help="where everything is kept")
    parser.add_argument("--url", help="a running service; without it one is started")
    parser.add_argument("--seed", type=int, default=42)
    chosen = parser.parse_args()
    began = time.monotonic()
    content = fetched(chosen.folder)
    with service(chosen.url, chosen.folder) as url, Client(url) as client:
        dataset = client.datasets.upload(content, "mnist").id
        teacher = run(client, "teacher.json", dataset, None, chosen.seed)
        student = run(client, "student.json", dataset, teacher.id, chosen.seed)
        client.jobs.download_student(student.id, chosen.folder / "student", replace=True)
    assert student.report is not None
    say("\n" + "\n".join(table(student.report)))
    say(f"\nThe student is in {chosen.folder / 'student'}. All of it took {time.monotonic() - began:.0f} s.")
    if not is_as_promised(student.report):
        say(f"error: this is not the paper's order with at least {FEWER_ERRORS:.0%} fewer errors")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
