"""What the SmolLM2 examples share: from nothing to a report, through the public API.

Each example has a `job.json`, in which DATASET stands for the id that the upload answers, and calls `main`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_client import Client
from distill_client.cli.demo import step
from distill_client.cli.output import say
from distill_client.cli.report import show_report
from distill_client.cli.watch import byte_bar, follow, show_end
from distill_client.embedded import embedded_service
from distill_client.errors import ApiError, ClientError
from distill_client.shapes import Job, Json
from examples.movie_reviews.fetch import FetchFailed
from examples.smollm import fetch

TEACHER = "smollm2"
Texts = Callable[[Path], Path]


def main(example: Path, texts: Texts, *, first: str | None = None) -> int:
    """Run the example in a service of its own, or in the one that --url names. Returns 0 if its jobs succeed.

    Args:
        example: the folder with `job.json`; its name is the data set's and, below --folder, the results'.
        texts: makes the data set's file in a folder, as `fetch.editorials` does.
        first: a file beside `job.json`, of a job that comes before it and makes the student that it starts from.
    """
    parser = argparse.ArgumentParser(description=f"Run the example {example.name}.")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where everything is kept")
    parser.add_argument("--url", help="a running service; without it one is started and stopped")
    chosen = parser.parse_args()
    assets = chosen.folder / "smollm"
    assets.mkdir(parents=True, exist_ok=True)
    step("Fetching SmolLM2-135M-Instruct and texts")
    try:
        teacher, dataset = fetch.teacher(assets), texts(assets)
        with service(chosen.url, chosen.folder) as url, Client(url) as client:
            step(f"Uploading both to {url}")
            start: Job | None = None
            for name in ["job.json"] if first is None else [first, "job.json"]:
                spec = prepared(client, example / name, teacher, dataset)
                job = distilled(client, spec if start is None else {**spec, "student": start.id})
                if isinstance(job, int):
                    return job
                start = job
            assert start is not None
            return shown(client, start, chosen.folder / example.name)
    except (FetchFailed, ClientError) as error:
        say(f"error: {error}", "bold red")
        return 1


def distilled(client: Client, spec: Json) -> Job | int:
    """Submit a job and follow it to its success, or return the code to leave with. Ctrl-C cancels the job."""
    job = client.jobs.submit(spec)
    step(f"Distilling {spec['name']}: {job.id}")
    watched = follow(client, job.id, quiet_end=True)
    if watched.job is None:
        client.jobs.cancel(job.id)
        return 130
    if watched.job.report is None:
        show_end(watched.job)
        return 1
    return watched.job


def shown(client: Client, job: Job, folder: Path) -> int:
    """Show the job's report and keep its student."""
    step(f"The report, and the student in {folder}")
    if job.report is not None:
        show_report(job.report)
    keep(client, job, folder)
    return 0


@contextmanager
def service(url: str | None, folder: Path) -> Iterator[str]:
    """Yield the address of the service that was named, or of one of our own."""
    if url is not None:
        yield url
        return
    with embedded_service(folder) as own:
        yield own


def prepared(client: Client, job: Path, teacher: Path, dataset: Path) -> Json:
    """Upload what an earlier run has not, and return the job's spec."""
    spec: Json = json.loads(job.read_text(encoding="utf-8"))
    if not knows_model(client, TEACHER):
        with byte_bar("teacher") as on_progress:
            client.models.upload(teacher, TEACHER, on_progress)
    known = next((one for one in client.datasets.list() if one.name == dataset.name), None)
    if known is None:
        known = client.datasets.upload(dataset, dataset.name)
    spec["dataset"]["id"] = known.id
    if knows_model(client, spec["output"]["model"]):
        spec["output"]["model"] += time.strftime("-%Y%m%d-%H%M%S")
    return spec


def knows_model(client: Client, name: str) -> bool:
    try:
        client.models.get(name)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def keep(client: Client, job: Job, folder: Path) -> None:
    """Download the student, with its report as a page."""
    client.jobs.download_student(job.id, folder / "student", replace=True)
    page = next((one for one in client.jobs.artifacts(job.id) if one.path == "report.html"), None)
    if page is not None:
        client.jobs.download_artifact(job.id, page, folder / "report.html")
    sys.stdout.write(f"{folder / 'report.html'}\n")
