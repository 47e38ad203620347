"""Small pieces: what has grown beyond them stands here by name, with its size as its limit."""

import ast

from tests.architecture.tree import ROOMS, python_files

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
LARGE_FILES: dict[str, int] = {}
LARGE_FUNCTIONS: dict[str, int] = {}


def test_files_stay_small() -> None:
    large = {
        path: lines
        for path, _, source in python_files(*ROOMS, "tests", "benchmarks")
        if (lines := source.count("\n")) > LARGE_FILES.get(path, MOST_LINES_OF_A_FILE)
    }
    assert large == {}


def test_functions_stay_small() -> None:
    large = {
        f"{path}:{node.name}": lines
        for path, tree, _ in python_files(*ROOMS, "tests", "benchmarks")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        # A migration's tables and a docstring's lines are no logic.
        and not path.startswith("migrations/versions/")
        and (lines := length_of(node)) > LARGE_FUNCTIONS.get(f"{path}:{node.name}", MOST_LINES_OF_A_FUNCTION)
    }
    assert large == {}


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert function.end_lineno is not None
    documented = ast.get_docstring(function) is not None
    first = function.body[1] if documented and len(function.body) > 1 else function.body[0]
    return function.end_lineno - first.lineno + 1
