"""`distill demo`: the main job on real data, from nothing to a small model, and the proof of what it is worth."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from distill_client.cli import formats
from distill_client.cli.app import FAILED, Target, app
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import joined, say, styled, table, write, write_table
from distill_client.cli.report import show_report
from distill_client.cli.up import require_launcher
from distill_client.cli.watch import byte_bar, follow
from distill_client.client import DEFAULT_URL, Client
from distill_client.embedded import embedded_service
from distill_client.errors import ApiError
from distill_client.shapes import Job, Json

EXAMPLE = Path("examples/movie_reviews")
SENTENCES = (
    "A warm, funny and beautifully acted little film.",
    "Two hours of noise, and not one idea in it.",
    "It starts slowly, but the last half hour is magnificent.",
)
LOG_LINES = 15


@app.command()
def demo(
    ctx: typer.Context,
    seed: Annotated[int, typer.Option(min=0, help="Draws the labelled and held-out texts, and the weights.")] = 42,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")] = False,
    folder: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(".demo"),
) -> None:
    """Distil a movie-review classifier from one command: fetch, upload, train, download, classify, compare.

    Starts a service of its own, unless --url (before `demo`) names a running one.
    """
    target: Target = ctx.obj
    example, began = find_example(), time.monotonic()
    signal.signal(signal.SIGTERM, _stop_in_order)
    step("Fetching a teacher (22.7 M parameters) and 10,605 movie-review snippets")
    assets = fetch_assets(example, folder / "assets", seed)
    step("Starting database, queue, service and worker" if target.url is None else f"Using {target.url}")
    with running_service(target, folder) as url, Client(url, target.api_key) as client:
        shown = Demo(client, example, folder, url if target.url or keep else DEFAULT_URL)
        shown.run(assets, seed)
        say(f"\nThe whole demo took {formats.duration(time.monotonic() - began)}.", "dim")
        if keep and target.url is None:
            _stay(url)
    if not keep and target.url is None:
        say(f"Everything is stopped. Start it again with this job in it: distill up --data {folder / 'data'}", "dim")


@dataclass(frozen=True)
class Assets:
    teacher: Path
    dataset: Path


@dataclass(frozen=True)
class Demo:
    """The steps against one service. `shown_url` is where the printed curl lines will find it afterwards."""

    client: Client
    example: Path
    folder: Path
    shown_url: str

    def run(self, assets: Assets, seed: int) -> None:
        step("Uploading both through the API")
        spec = self.upload(assets, seed)
        step("Submitting the job: fine-tune the teacher on 500 labels, distil it with 8,105 unlabelled texts")
        job = self.client.jobs.submit(spec)
        finished = self.watch(job)
        students = self.folder / "student"
        with byte_bar("student") as on_progress:
            files = self.client.jobs.download_student(job.id, students, on_progress, replace=True)
        step(f"Downloaded the student: {len(files)} files, every SHA-256 checked, in {students}")
        self.classify(job.id, students)
        if finished.report is not None:
            step(f"The report, on {_held_out(finished)} held-out snippets")
            show_report(finished.report)
        step("The same with curl")
        written = self.folder / "job.json"
        written.write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
        for line in curl_lines(self.shown_url, assets, spec["teacher"]["model"], written, job.id):
            write(line, whole=True)

    def upload(self, assets: Assets, seed: int) -> Json:
        """Bring teacher and data set to the service, unless an earlier demo did. Returns the job's spec."""
        spec: Json = json.loads((self.example / "job.json").read_text(encoding="utf-8"))
        teacher, name = spec["teacher"]["model"], f"movie-reviews-{seed}"
        if not self._knows_model(teacher):
            with byte_bar("teacher") as on_progress:
                self.client.models.upload(assets.teacher, teacher, on_progress)
        known = next((one for one in self.client.datasets.list() if one.name == name), None)
        if known is None:
            with byte_bar("texts") as on_progress:
                known = self.client.datasets.upload(assets.dataset, name, on_progress)
        spec["dataset"]["id"] = known.id
        spec["training"]["seed"] = seed
        if self._knows_model(spec["output"]["model"]):
            spec["output"]["model"] += time.strftime("-%Y%m%d-%H%M%S")
        return spec

    def watch(self, job: Job) -> Job:
        """Follow the job in one bar. Cancels it if the user leaves. Raises CommandFailed unless it succeeds."""
        watched = follow(self.client, job.id, quiet_end=True)
        if watched.job is None:
            say("\nCancelling the job and stopping everything.")
            self.client.jobs.cancel(job.id)
            raise KeyboardInterrupt
        if watched.job.status != "succeeded":
            self._say_why(watched.job)
            raise typer.Exit(FAILED)
        return watched.job

    def classify(self, job_id: str, students: Path) -> None:
        """Let plain transformers classify three sentences, with the fine-tuned teacher beside the student."""
        teachers = self.folder / "teacher"
        with byte_bar("teacher") as on_progress:
            taught = self.client.jobs.download_folder(job_id, teachers, "teacher/", on_progress, replace=True)
        folders = {"teacher": teachers} if taught else {}
        folders["student"] = students
        step("Classifying three sentences with plain transformers")
        answers = classify(self.example, list(folders.values()), SENTENCES)
        made = table("", *folders)
        for place, sentence in enumerate(SENTENCES):
            made.add_row(styled(sentence), *(_choice(answer[place]) for answer in answers))
        write_table(made)

    def _knows_model(self, name: str) -> bool:
        try:
            self.client.models.get(name)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _say_why(self, job: Job) -> None:
        say(f"error: the job {job.status}", "bold red")
        if job.error is not None:
            say(f"  {job.error.code}: {job.error.message}")
            say(f"  hint: {job.error.hint}")
        for line in self.client.jobs.logs(job.id, LOG_LINES).splitlines():
            say(f"  | {line}", "dim")


def find_example() -> Path:
    """The example's folder: below the present one, or beside this package in a checkout."""
    beside = Path(__file__).resolve().parents[2] / EXAMPLE
    found = next((folder for folder in (EXAMPLE, beside) if (folder / "job.json").is_file()), None)
    if found is None:
        raise CommandFailed(f"there is no {EXAMPLE} here", "run the demo in a checkout of the repository")
    return found


def fetch_assets(example: Path, folder: Path, seed: int) -> Assets:
    """Run the example's own script, which pins what it fetches. Raises CommandFailed."""
    command = [sys.executable, str(example / "fetch.py"), "--folder", str(folder), "--seed", str(seed)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise CommandFailed(answer.stderr.strip().removeprefix("error: ") or "the assets could not be fetched")
    places = json.loads(answer.stdout)
    return Assets(Path(places["teacher"]), Path(places["dataset"]))


@contextmanager
def running_service(target: Target, folder: Path) -> Iterator[str]:
    """The chosen service, or one of our own."""
    if target.url is not None:
        yield target.url
        return
    require_launcher()
    with embedded_service(folder) as url:
        yield url


def classify(example: Path, folders: list[Path], sentences: tuple[str, ...]) -> list[list[dict[str, float]]]:
    """The labels' probabilities, per folder and sentence. Raises CommandFailed."""
    command = [sys.executable, str(example / "classify.py"), *map(str, folders)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    answer = subprocess.run(
        command, input="\n".join(sentences), capture_output=True, text=True, check=False, env=environment
    )
    if answer.returncode != 0:
        raise CommandFailed(f"transformers could not load the student: {answer.stderr.strip()[-1000:]}")
    return [json.loads(line) for line in answer.stdout.splitlines()]


def curl_lines(url: str, assets: Assets, teacher: str, spec: Path, job_id: str) -> list[str]:
    """What the demo asked of the API, as a shell would."""
    return [
        f"tar -cf teacher.tar -C {assets.teacher} .",
        f"curl -F name={teacher} -F file=@teacher.tar {url}/v1/models",
        f"curl -F file=@{assets.dataset} {url}/v1/datasets",
        f"curl -H 'Content-Type: application/json' -d @{spec} {url}/v1/jobs",
        f"curl {url}/v1/jobs/{job_id}",
        f"curl -N -H 'Accept: text/event-stream' {url}/v1/jobs/{job_id}/events",
        f"curl {url}/v1/jobs/{job_id}/result",
        f"curl -OJ {url}/v1/jobs/{job_id}/student.zip",
    ]


def step(text: str) -> None:
    """One line for each part of the demo."""
    write(joined(("\n> ", "bold cyan"), (text, "bold")))


def _choice(probabilities: dict[str, float]) -> str:
    label, probability = max(probabilities.items(), key=lambda pair: pair[1])
    return f"{label} {formats.percent(probability)}"


def _held_out(job: Job) -> str:
    counts = (job.report.model_extra or {}).get("examples", {}) if job.report is not None else {}
    return f"{counts.get('test', 0):,}"


def _stay(url: str) -> None:
    say(f"The service goes on at {url}; Ctrl-C stops it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("Stopping.")


def _stop_in_order(_number: int, _frame: FrameType | None) -> None:
    """A polite kill unwinds as Ctrl-C does, so that no process is left behind."""
    raise KeyboardInterrupt
