import inspect
from pathlib import Path

import pytest

from distill_client.datasets import Datasets
from distill_client.jobs import Jobs
from distill_client.keys import Keys
from distill_client.models import Models

SDK = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()


@pytest.mark.parametrize(
    ("noun", "resource"), [("jobs", Jobs), ("datasets", Datasets), ("models", Models), ("keys", Keys)]
)
def test_every_method_is_in_the_documentation(noun: str, resource: type) -> None:
    line = next(line for line in SDK.splitlines() if line.startswith(f"| `client.{noun}`"))
    methods = [name for name, _ in inspect.getmembers(resource, inspect.isfunction) if not name.startswith("_")]
    assert [name for name in methods if f"`{name}`" not in line] == []


def test_the_package_needs_no_other_room() -> None:
    rooms = ("core", "service", "worker", "launcher", "migrations")
    sources = (Path(__file__).parents[2] / "distill_client").rglob("*.py")
    words = [line.split()[:2] for file in sources for line in file.read_text().splitlines()]
    imported = {pair[1].split(".")[0] for pair in words if len(pair) == 2 and pair[0] in ("import", "from")}
    assert imported.isdisjoint(rooms)
