"""The rooms' import contracts hold, and none of their lists has been forgotten."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.architecture.tree import ROOT, module_names

ENTERS_TRAINING = {
    "architectures",
    "chats",
    "endpoints",
    "errors",
    "likeliest",
    "methods",
    "references",
    "report",
    "spec",
    "students",
    "training",
    "vocabulary",
    "wire",
}
ENTERS_SERVING = ENTERS_TRAINING | {"blobs", "serving", "settings"}


def contract(name: str) -> dict[str, Any]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(found for found in contracts if found["id"] == name)


def below(room: str, names: list[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith(f"{room}.")}


def test_every_contract_is_kept() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_the_contracts_can_break(tmp_path: Path) -> None:
    """A linter that finds nothing anywhere would be kept too."""
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").write_text("import celery\n")
    (tmp_path / "setup.cfg").write_text(
        "[importlinter]\nroot_package = core\ninclude_external_packages = true\n"
        "[importlinter:contract:1]\nname = core\ntype = forbidden\nsource_modules = core\nforbidden_modules = celery\n"
    )
    done = subprocess.run(
        [ROOT / ".venv/bin/lint-imports", "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": "."},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1


def test_what_may_not_enter_the_training_room_is_all_the_rest() -> None:
    forbidden = contract("training")["forbidden_modules"]
    assert below("core", forbidden) == module_names("core") - ENTERS_TRAINING
    assert below("worker", forbidden) == module_names("worker") - {"training"}


def test_what_may_not_enter_the_serving_room_is_all_the_rest() -> None:
    forbidden = contract("serving")["forbidden_modules"]
    assert below("core", forbidden) == module_names("core") - ENTERS_SERVING
    assert below("worker", forbidden) == module_names("worker") - {"training"}


def test_every_module_of_the_worker_is_above_or_below_the_wall() -> None:
    above, under = contract("above_the_wall"), contract("below_the_wall")
    modules = module_names("worker")
    assert below("worker", above["source_modules"]) | below("worker", under["source_modules"]) == modules
    assert below("worker", above["forbidden_modules"]) == below("worker", under["source_modules"])
    assert below("worker", under["forbidden_modules"]) == below("worker", above["source_modules"])


def test_the_launcher_knows_one_module_of_core() -> None:
    assert below("core", contract("launcher")["forbidden_modules"]) == module_names("core") - {"settings"}
