"""Pydantic's findings as faults: where in the body, what is wrong, what to write instead."""

import difflib
from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import FormData

from core.spec import JobSpec
from service.problems import Fault, pointer_of, printable

CODES = {"extra_forbidden": "unknown_field", "missing": "missing_field"}
OWN_CODES = frozenset(
    {
        "not_available",
        "invalid_reference",
        "student_source",
        "invalid_split",
        "beta_without_jsd",
        "top_k_of_mse",
        "agreement_impossible",
        "filters_impossible",
        "invalid_pattern",
        "unknown_language",
        "json_schema_missing",
        "label_filter",
        "invalid_secret",
        "invalid_base_url",
        "invalid_grid",
        "too_many_points",
        "budget_without_price",
        "black_box_teacher",
        "wrong_for_task",
        "wrong_for_method",
        "logprobs_missing",
        "nothing_asked",
        "uneven_shares",
        "teacher_missing",
    }
)
OF_THE_WHOLE = frozenset(
    {
        "wrong_for_task",
        "wrong_for_method",
        "black_box_teacher",
        "teacher_missing",
        "invalid_grid",
        "too_many_points",
        "not_available",
        "uneven_shares",
    }
)
"""Found when the whole spec is looked at; they bring the place along, if there is one."""
HINTS = {
    "unknown_field": "Remove it, or correct its spelling; GET /docs shows every field.",
    "missing_field": "It is required.",
    "invalid_value": "GET /docs shows what it may be.",
    "not_available": "Leave it out.",
    "student_source": 'Write "student": "name", {"from_teacher": {"layers": […]}} or {"config": {…}}.',
    "invalid_reference": "Upload the folder to POST /v1/models and use its name.",
    "invalid_split": "Let dataset.validation + dataset.test be less than 1.",
    "beta_without_jsd": "Leave beta out, or use divergence jsd.",
    "top_k_of_mse": "Leave top_k out, or use another divergence.",
    "filters_impossible": "Lower filters.min_tokens, or raise generation.max_new_tokens and filters.max_tokens.",
    "agreement_impossible": "Raise generation.samples_per_prompt, or lower agreement.k.",
    "unknown_language": "Write two letters of ISO 639-1, such as en.",
    "invalid_pattern": "Write it in the syntax of Rust's regex crate: no look-around, no backreferences.",
    "json_schema_missing": "Give json_schema with type json_schema, and with no other.",
    "invalid_secret": "Send the value as the vendor shows it, without spaces or line breaks.",
    "invalid_base_url": "Write it like https://api.example.com/v1.",
    "invalid_grid": 'Write each field by its path, with its different values: {"T": [1, 2], "training.seed": [1, 2]}.',
    "too_many_points": "Leave out values, or make two sweeps.",
    "budget_without_price": "Give price_per_million_prompt_tokens and price_per_million_completion_tokens.",
    "black_box_teacher": (
        'Use "method": {"type": "sequence"} and name the student\'s model, or upload the teacher\'s weights.'
    ),
    "label_filter": "Write label=key:value.",
    "logprobs_missing": "Add logprobs: true, or leave top_logprobs out.",
    "nothing_asked": "Raise max_tokens, or set echo: true to look at the prompt.",
    "uneven_shares": "Let training.batch_size be a multiple of resources.processes.",
    "wrong_for_task": "Leave it out, or name another task.",
    "wrong_for_method": "Change it, or choose another method.type.",
    "teacher_missing": "Name a teacher, or set alpha to 0 and give the student a source of its own.",
}


def faults_of(error: RequestValidationError) -> list[Fault]:
    body = dict(error.body) if isinstance(error.body, FormData) else error.body
    return _unique([_fault(detail, body) for detail in error.errors()])


def faults_of_spec(error: ValidationError, written: Any) -> list[Fault]:
    """The same for a spec that was no body of its own; pointers begin where `written` does."""
    found = [ErrorDetails(**{**detail, "loc": ("body", *detail["loc"])}) for detail in error.errors()]
    return _unique([_fault(detail, written) for detail in found])


def _unique(faults: Sequence[Fault]) -> list[Fault]:
    """Return one fault for each place and code: the arms of a union each say what they would have liked there."""
    unique: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        said = unique.setdefault((fault.pointer, fault.code), fault)
        if fault.detail not in said.detail:
            wish = fault.detail[:1].lower() + fault.detail[1:]
            unique[fault.pointer, fault.code] = said.model_copy(update={"detail": f"{said.detail}, or {wish}"})
    return list(unique.values())


def _fault(found: ErrorDetails, body: Any) -> Fault:
    place, *parts = found["loc"] or ("body",)
    kind = found["type"]
    code = CODES.get(kind) or (kind if kind in OWN_CODES else "invalid_value")
    if kind in OF_THE_WHOLE and "place" in found["ctx"]:
        named = found["ctx"]["place"]
        where = named.split(".") if isinstance(named, str) else named
    elif place == "body":
        where = _present(parts, body, is_missing=kind == "missing")
    else:
        where = [place, *parts]
    return Fault(pointer=pointer_of(where), detail=_detail(found, code), code=code, hint=HINTS[code])


def _present(parts: Sequence[int | str], body: Any, *, is_missing: bool) -> list[int | str]:
    """The parts of a location that the body has; a union's tag or a list that was not written is skipped.

    The last part of a missing field is absent by nature, and kept.
    """
    kept: list[int | str] = []
    for place, part in enumerate(parts):
        is_last = place == len(parts) - 1
        if _has(body, part):
            body = body[part]
        elif not (is_last and is_missing):
            continue
        kept.append(part)
    return kept


def _has(body: Any, part: int | str) -> bool:
    if isinstance(body, list):
        return isinstance(part, int) and part < len(body)
    return isinstance(body, dict) and part in body


def _detail(found: ErrorDetails, code: str) -> str:
    if code == "unknown_field":
        name = printable(str(found["loc"][-1]))[:100]
        near = difflib.get_close_matches(name, _KNOWN_FIELDS, 1)
        return f"there is no field '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")
    if code == "missing_field":
        return f"'{found['loc'][-1]}' is missing"
    return printable(found["msg"])


def _field_names(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
        return own.union(*(_field_names(part) for part in schema.values()))
    return set().union(*(_field_names(part) for part in schema)) if isinstance(schema, list) else set()


_KNOWN_FIELDS = sorted(_field_names(JobSpec.model_json_schema()))
