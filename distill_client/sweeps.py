"""`/v1/sweeps`: the same job with other values, side by side."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distill_client.jobs import JobTimeout
from distill_client.pages import walk
from distill_client.shapes import Json, Sweep, SweepPlan
from distill_client.transport import Transport, json_of

POLL_SECONDS = 1.0
Grid = Mapping[str, Sequence[Any]]


class SweepTimeout(JobTimeout):
    """A sweep did not finish within the seconds that the caller would wait; it goes on."""

    def __str__(self) -> str:
        return f"sweep {self.args[0]} is still {self.args[1]}"


class Sweeps:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def submit(self, base: Mapping[str, Any], grid: Grid, name: str | None = None) -> Sweep:
        """Start a job for each combination of the grid's values, laid over `base`. Raises ApiError; then none starts.

        `grid` gives values by the path of a field: `{"T": [1, 2, 4], "training.learning_rate": [1e-4, 5e-4]}`.
        """
        return Sweep.model_validate(json_of(self.transport.post("/v1/sweeps", _body(base, grid, name))))

    def validate(self, base: Mapping[str, Any], grid: Grid, name: str | None = None) -> SweepPlan:
        """What the jobs would be, and an estimate; nothing is stored. Raises ApiError as submit would."""
        answer = self.transport.post("/v1/sweeps", _body(base, grid, name), params={"dry_run": "true"})
        return SweepPlan.model_validate(json_of(answer))

    def list(self, limit: int | None = None) -> Iterator[Sweep]:
        """Sweeps without their tables, the newest first."""
        return walk(self.transport, "/v1/sweeps", Sweep, limit)

    def get(self, sweep_id: str) -> Sweep:
        """One sweep with its table, its Pareto front and its best point."""
        return Sweep.model_validate(json_of(self.transport.get(f"/v1/sweeps/{sweep_id}")))

    def cancel(self, sweep_id: str) -> Sweep:
        """Stop every job that is not finished."""
        return Sweep.model_validate(json_of(self.transport.post(f"/v1/sweeps/{sweep_id}/cancel")))

    def delete(self, sweep_id: str) -> None:
        """Delete a finished sweep with its jobs and their files. The models that they made stay."""
        self.transport.delete(f"/v1/sweeps/{sweep_id}")

    def looks(self, sweep_id: str) -> Iterator[Sweep]:
        """The sweep as it is now, and then again every second until it is finished."""
        sweep = self.get(sweep_id)
        yield sweep
        while not sweep.is_finished:
            time.sleep(POLL_SECONDS)
            sweep = self.get(sweep_id)
            yield sweep

    def wait(self, sweep_id: str, timeout_seconds: float | None = None) -> Sweep:
        """Return the sweep once all of its jobs are finished, however they ended. Raises SweepTimeout."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        for sweep in self.looks(sweep_id):
            if not sweep.is_finished and deadline is not None and time.monotonic() >= deadline:
                raise SweepTimeout(sweep_id, sweep.status)
        return sweep


def _body(base: Mapping[str, Any], grid: Grid, name: str | None) -> Json:
    body: Json = {"base": dict(base), "grid": {path: list(values) for path, values in grid.items()}}
    return body | ({"name": name} if name is not None else {})
