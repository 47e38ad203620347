"""Every error has a code of its own, says what to do, and survives the way between processes."""

import inspect
import pickle
import re

import pytest

from core import endpoints, errors
from core.errors import DistillError, JobFailed, every_error

CORE_ERRORS = [kind for kind in every_error() if kind.__module__ in (errors.__name__, endpoints.__name__)]
# As many raw arguments as any of them takes; numbers, since some are formatted as such.
ARGUMENTS = (1.5, 2.5, 3.5)


def arguments_of(kind: type[DistillError]) -> tuple[float, ...]:
    """Raw arguments in the number that `kind` unpacks."""
    for count in range(len(ARGUMENTS), 0, -1):
        try:
            str(kind(*ARGUMENTS[:count]))
        except ValueError:
            continue
        return ARGUMENTS[:count]
    raise AssertionError(f"{kind.__name__} cannot be said")


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in CORE_ERRORS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", code) for code in codes)


@pytest.mark.parametrize("kind", CORE_ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_says_what_happened_and_what_to_do(kind: type[DistillError]) -> None:
    assert {"code", "title"} <= vars(kind).keys(), "a code is not inherited"
    assert kind.title.strip()
    assert kind.hint.strip()
    assert 400 <= kind.status < 600
    error = kind(*arguments_of(kind))
    assert str(error).strip()
    assert str(kind.args) not in str(error)


@pytest.mark.parametrize("kind", CORE_ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_from_a_pickle_as_it_was(kind: type[DistillError]) -> None:
    error = kind(*arguments_of(kind))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), again.args, str(again), again.code) == (kind, error.args, str(error), kind.code)


def test_whoever_can_mend_a_failed_job_is_named() -> None:
    assert {kind.blame for kind in every_error(JobFailed)} <= {"user", "teacher", "platform"}


def test_the_tree_holds_every_error_of_the_modules() -> None:
    classes = [kind for module in (errors, endpoints) for _, kind in inspect.getmembers(module, inspect.isclass)]
    written = {kind for kind in classes if issubclass(kind, DistillError)}
    assert written == set(CORE_ERRORS)
