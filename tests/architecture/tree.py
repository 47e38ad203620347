"""The project's own files, as git knows them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("core", "service", "serving", "worker", "distill_client", "launcher", "migrations")


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is committed, or will be: all but what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()))


def python_files(*rooms: str) -> Iterator[tuple[str, ast.Module, str]]:
    """Yield (path below the root, syntax tree, source) of every module of the rooms."""
    for path in project_files():
        relative = path.relative_to(ROOT)
        if path.suffix == ".py" and relative.parts[0] in rooms:
            source = path.read_text(encoding="utf-8")
            yield relative.as_posix(), ast.parse(source), source


def module_names(room: str) -> set[str]:
    """The names of a room's own modules and packages, one level down."""
    below = {path.relative_to(ROOT / room).parts[0] for path in project_files() if path.is_relative_to(ROOT / room)}
    return {name.removesuffix(".py") for name in below if name != "__init__.py" and not name.startswith(".")}
