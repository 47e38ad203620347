"""One word, one meaning; and some words mean nothing."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.tree import ROOMS, python_files

BANNED = frozenset(
    [
        "util",
        "utils",
        "helper",
        "helpers",
        "manager",
        "handler",
        "handlers",
        "common",
        "misc",
        "base",
        "tmp",
        "new",
        "process",
        "do",
    ]
)
# Names that SQLAlchemy, pydantic, FastAPI and transformers ask for.
ASKED_FOR = frozenset({"process_bind_param", "process_result_value", "handler", "get_route_handler", "max_new_tokens"})
ASKED_FOR |= {"base_model_prefix"}
# What OpenAI's clients call a server's address.
ASKED_FOR |= {"base_url", "BaseUrl", "_base_url"}
# Of a sweep, whose points are made from one.
ASKED_FOR |= {"base"}
# Where a process is meant: the operating system's.
PROCESSES = frozenset({"_one_process", "PROCESS_BYTES"})


def words_of(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)}


def names_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that a module gives: functions, classes, arguments, variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def test_no_module_is_an_attic() -> None:
    files = [path for path, _, _ in python_files(*ROOMS, "tests", "benchmarks")]
    attics = [path for path in files if any(words_of(part) & BANNED for part in path.removesuffix(".py").split("/"))]
    assert attics == []


def test_no_name_says_nothing() -> None:
    found = [
        f"{path}:{line}: {name}"
        for path, tree, _ in python_files(*ROOMS)
        for name, line in names_in(tree)
        if words_of(name) & BANNED and name not in ASKED_FOR | PROCESSES
    ]
    assert found == []


def test_the_words_are_told_apart() -> None:
    assert words_of("NewSession") & BANNED
    assert words_of("do_it") & BANNED
    assert not words_of("baseline_processes_renewed_document") & BANNED
