"""What each process loads is seen in an interpreter of its own: torch is in one process."""

import json
import subprocess
import sys

import pytest

from tests.architecture.tree import ROOT

TRAINS = {"torch", "transformers", "accelerate", "peft", "datasets", "sklearn"}
SERVES = {"fastapi", "starlette", "uvicorn"}
STORES = {"sqlalchemy", "alembic", "obstore"}
SENDS = {"celery", "kombu", "redis"}


def loaded_by(module: str) -> set[str]:
    """The top-level packages that importing `module` brings in."""
    look = f"import {module}, json, sys; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("module", "stays_out"),
    [
        ("service.app", TRAINS | {"worker"}),
        ("service.main", TRAINS | {"worker"}),
        ("worker.__main__", TRAINS | SERVES | {"service"}),
        ("worker.tasks", TRAINS | SERVES | {"service"}),
        ("worker.sweeper", TRAINS | SERVES | {"service"}),
        ("worker.run", TRAINS | SERVES | SENDS | {"service"}),
        ("worker.training.observer", TRAINS | SERVES | SENDS | STORES),
        ("serving.__main__", TRAINS | SERVES | SENDS | STORES | {"service", "worker"}),
        ("serving.server", SENDS | {"fastapi", "sqlalchemy", "alembic", "service"}),
        ("migrations.revisions", TRAINS | SERVES | SENDS),
        ("launcher.tree", TRAINS | SERVES | SENDS | STORES | {"service", "worker"}),
        ("distill_client", TRAINS | SERVES | SENDS | STORES | {"core", "service", "worker", "launcher"}),
        ("distill_client.cli", TRAINS | SERVES | SENDS | STORES | {"core", "service", "worker", "launcher"}),
    ],
)
def test_a_process_loads_only_what_it_is_for(module: str, stays_out: set[str]) -> None:
    loaded = loaded_by(module)
    assert module.split(".")[0] in loaded
    assert loaded & stays_out == set()


def test_the_training_room_is_where_torch_is() -> None:
    assert {"torch", "transformers"} <= loaded_by("worker.training.distil")
