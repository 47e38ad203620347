"""Every code that a problem or a failed job can carry, with what to do about it."""

from dataclasses import dataclass

from core.errors import JobFailed, every_error
from service.datasets.faults import DATASET_HINTS
from service.inference.lookup import SERVING_HINTS
from service.jobs.faults import CHECK_HINTS
from service.models.faults import MODEL_HINTS
from service.validation import HINTS


@dataclass(frozen=True)
class Code:
    code: str
    title: str
    hint: str
    status: int | None
    """None: why a job failed."""


def _of_errors() -> list[Code]:
    return [
        Code(error.code, error.title, error.hint, None if issubclass(error, JobFailed) else error.status)
        for error in every_error()
    ]


def _of_faults() -> list[Code]:
    hints = {**HINTS, **CHECK_HINTS, **DATASET_HINTS, **MODEL_HINTS, **SERVING_HINTS}
    return [Code(code, code.replace("_", " ").capitalize(), hint, 422) for code, hint in hints.items()]


CODES: tuple[Code, ...] = tuple({code.code: code for code in [*_of_faults(), *_of_errors()]}.values())
