"""`/v1/jobs`: submit, follow, steer, and fetch what came out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from distill_client.answers import Comparison
from distill_client.download import Download, RemoteFile, fetch_all
from distill_client.errors import ClientError
from distill_client.pages import walk
from distill_client.shapes import Artifact, Checkpoint, Event, Job, Json, Resolved
from distill_client.stream import EventStream
from distill_client.transport import Transport, json_of
from distill_client.upload import OnProgress

POLL_SECONDS = 20.0
TIMEOUT_SECONDS = 30.0
COMPARE_SECONDS = 1800.0
TEACHER_FOLDER = "teacher/"


class JobTimeout(ClientError):
    """A job did not finish within the seconds that the caller would wait; it goes on."""

    def __str__(self) -> str:
        return f"job {self.args[0]} is still {self.args[1]}"


class Jobs:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def submit(self, spec: Mapping[str, Any]) -> Job:
        """Start a job. Raises ApiError with a fault per wrong field."""
        return Job.model_validate(json_of(self.transport.post("/v1/jobs", dict(spec))))

    def validate(self, spec: Mapping[str, Any]) -> Resolved:
        """The spec with every default and an estimate; nothing is stored. Raises ApiError as submit would."""
        answer = self.transport.post("/v1/jobs", dict(spec), params={"dry_run": "true"})
        return Resolved.model_validate(json_of(answer))

    def list(
        self,
        *,
        status: str | None = None,
        task: str | None = None,
        label: str | None = None,
        q: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Jobs, the newest first. `label` is `key:value`, `q` a part of the name."""
        moments = {"created_after": created_after, "created_before": created_before}
        params: Json = {name: moment.isoformat() for name, moment in moments.items() if moment is not None}
        params |= {"status": status, "task": task, "label": label, "q": q}
        return walk(self.transport, "/v1/jobs", Job, limit, params)

    def get(self, job_id: str) -> Job:
        return Job.model_validate(json_of(self.transport.get(f"/v1/jobs/{job_id}")))

    def cancel(self, job_id: str) -> Job:
        return Job.model_validate(json_of(self.transport.post(f"/v1/jobs/{job_id}/cancel")))

    def pause(self, job_id: str) -> Job:
        """Let a job rest: what was trained is kept, and its worker takes another job. `wait` stays with it."""
        return Job.model_validate(json_of(self.transport.post(f"/v1/jobs/{job_id}/pause")))

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on from its last checkpoint."""
        return Job.model_validate(json_of(self.transport.post(f"/v1/jobs/{job_id}/resume")))

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; it resumes from its last checkpoint."""
        return Job.model_validate(json_of(self.transport.post(f"/v1/jobs/{job_id}/retry")))

    def delete(self, job_id: str) -> None:
        """Delete a finished job with its files."""
        self.transport.delete(f"/v1/jobs/{job_id}")

    def events(self, job_id: str, last_id: str | None = None) -> Iterator[Event]:
        """The job's events from the beginning (or after `last_id`) until it is done, as they happen."""
        return iter(EventStream(self.transport, f"/v1/jobs/{job_id}/events", last_id))

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> Job:
        """Return the job once it is finished, however it ended. Raises JobTimeout."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        job, etag = self._look(job_id, None, 0)
        while not job.is_finished:
            left_seconds = POLL_SECONDS if deadline is None else min(POLL_SECONDS, deadline - time.monotonic())
            if left_seconds <= 0:
                raise JobTimeout(job_id, job.status)
            job, etag = self._look(job_id, etag, left_seconds)
        return job

    def _look(self, job_id: str, etag: str | None, wait_seconds: float) -> tuple[Job, str | None]:
        """The job and its ETag, once it is another than `etag` or after `wait_seconds`."""
        timeout = self.transport.patient(wait_seconds + TIMEOUT_SECONDS)
        headers = {"If-None-Match": etag} if etag else {}
        params = {"wait": f"{wait_seconds:.1f}"} if etag else None
        answer = self.transport.get(f"/v1/jobs/{job_id}", params, headers=headers, timeout=timeout)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return self._look(job_id, None, 0)
        return Job.model_validate(json_of(answer)), answer.headers.get("etag")

    def metrics(
        self,
        job_id: str,
        *,
        names: Sequence[str] | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
        points: int | None = None,
    ) -> Json:
        """Series by name, at most `points` values each."""
        return dict(
            json_of(self.transport.get(f"/v1/jobs/{job_id}/metrics", _range(names, from_step, to_step, points)))
        )

    def metrics_csv(self, job_id: str, *, names: Sequence[str] | None = None) -> str:
        params = _range(names, None, None, None)
        return self.transport.get(f"/v1/jobs/{job_id}/metrics", params, headers={"Accept": "text/csv"}).text

    def logs(self, job_id: str, tail: int | None = None) -> str:
        """What the training process printed, or its last `tail` lines."""
        return self.transport.get(f"/v1/jobs/{job_id}/logs", {"tail": tail}, headers={"Accept": "*/*"}).text

    def result(self, job_id: str) -> Json:
        """Status, report, links and error of a finished job. Raises ApiError 404 before that."""
        return dict(json_of(self.transport.get(f"/v1/jobs/{job_id}/result")))

    def compare(self, job_id: str, prompts: Sequence[str | Sequence[Mapping[str, str]]], **options: Any) -> Comparison:
        """Ask a finished job's teacher, its student as it began and its student the same.

        `options` of language models: max_tokens, temperature, seed. Raises ApiError.
        """
        asked = [prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt] for prompt in prompts]
        given = {name: value for name, value in options.items() if value is not None}
        answer = self.transport.post(
            f"/v1/jobs/{job_id}/compare", {"prompts": asked, **given}, read_seconds=COMPARE_SECONDS
        )
        return Comparison.model_validate(json_of(answer))

    def artifacts(self, job_id: str) -> Iterator[Artifact]:
        return walk(self.transport, f"/v1/jobs/{job_id}/artifacts", Artifact)

    def checkpoints(self, job_id: str) -> Iterator[Checkpoint]:
        """The newest first."""
        return walk(self.transport, f"/v1/jobs/{job_id}/checkpoints", Checkpoint)

    def download_artifact(
        self, job_id: str, artifact: Artifact, target: Path, on_progress: OnProgress | None = None
    ) -> Path:
        """Fetch one file to `target`. Continues an earlier cut. Raises ChecksumMismatch."""
        return Download(self.transport, _href(job_id, artifact), target, artifact.sha256, on_progress).run()

    def download_folder(
        self,
        job_id: str,
        folder: Path,
        below_path: str = "",
        on_progress: OnProgress | None = None,
        *,
        replace: bool = False,
    ) -> Sequence[Path]:
        """Fetch every artifact whose path begins with `below_path` into `folder`, without that beginning.

        Raises FilesInTheWay where other files have their names, unless it is to `replace` them.
        """
        wanted = [artifact for artifact in self.artifacts(job_id) if artifact.path.startswith(below_path)]
        files = [_remote(job_id, one, one.path.removeprefix(below_path)) for one in wanted]
        return fetch_all(self.transport, files, folder, on_progress, replace=replace)

    def download_student(
        self, job_id: str, folder: Path, on_progress: OnProgress | None = None, *, replace: bool = False
    ) -> Sequence[Path]:
        """Fetch the student: a folder that transformers loads as it is. Raises FilesInTheWay like download_folder."""
        own = [artifact for artifact in self.artifacts(job_id) if not artifact.path.startswith(TEACHER_FOLDER)]
        files = [_remote(job_id, one, one.path) for one in own]
        return fetch_all(self.transport, files, folder, on_progress, replace=replace)

    def download_checkpoint(
        self, job_id: str, checkpoint_id: str, target: Path, on_progress: OnProgress | None = None
    ) -> Path:
        """Fetch a checkpoint as one zip."""
        href = f"/v1/jobs/{job_id}/checkpoints/{checkpoint_id}/checkpoint.zip"
        return Download(self.transport, href, target, None, on_progress).run()


def _remote(job_id: str, artifact: Artifact, path: str) -> RemoteFile:
    return RemoteFile(_href(job_id, artifact), path, artifact.bytes, artifact.sha256)


def _href(job_id: str, artifact: Artifact) -> str:
    return artifact.href or f"/v1/jobs/{job_id}/artifacts/{artifact.path}"


def _range(names: Sequence[str] | None, from_step: int | None, to_step: int | None, points: int | None) -> Json:
    joined = ",".join(names) if names else None
    return {"names": joined, "from_step": from_step, "to_step": to_step, "points": points}
