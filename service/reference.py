"""The reference of a job's spec, made from the models that check it: `python -m service.reference > docs/spec.md`."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from core.architectures import ConfigKey
from core.endpoints import EndpointTeacher
from core.methods import Frozen
from core.spec import JobSpec, TeacherSpec
from core.students import StudentSpec

HEAD = """# A job's spec

What `POST /v1/jobs` takes, field by field; `GET /docs` of a running service shows the same. Only `teacher`, `student`
and `dataset` have no default; each may be a name instead of an object. A field that is not here is refused, with the
nearest name. The answer echoes the spec with every default. This page is made by `python -m service.reference`.
"""
KINDS = {EndpointTeacher: "behind an endpoint", TeacherSpec: "with weights"}
JSON_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def page() -> str:
    """Return the whole page, in Markdown."""
    parts: dict[type[BaseModel], list[str]] = {}
    _walk(JobSpec, "", parts)
    return "\n".join([HEAD, *(_section(model, places) for model, places in parts.items())])


def _walk(model: type[BaseModel], place: str, parts: dict[type[BaseModel], list[str]]) -> None:
    """Note where each part of the spec is found, in the order in which a reader meets them."""
    is_known = model in parts
    parts.setdefault(model, []).append(place)
    if is_known:
        return
    for name, field in model.model_fields.items():
        for below in _models_in(field.annotation):
            _walk(below, f"{place}.{name}".removeprefix("."), parts)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        yield annotation
    for one in get_args(annotation):
        yield from _models_in(one)


def _section(model: type[BaseModel], places: list[str]) -> str:
    title = "The job" if places == [""] else " and ".join(dict.fromkeys(places)) + _kind(model)
    said = " ".join((model.__doc__ or "").split())
    lines = [f"## {title}", "", *([said, ""] if said else [])]
    lines += ["| field | what it is | default | what it does |", "|---|---|---|---|"]
    lines += [_row(name, field) for name, field in model.model_fields.items()]
    if model is StudentSpec:
        keys = ", ".join(f"`{key}`" for key in get_args(ConfigKey))
        lines += ["", f"A transformers `config` has any of these keys: {keys}."]
    return "\n".join([*lines, ""])


def _kind(model: type[BaseModel]) -> str:
    """Return what tells a part from others that may stand in its place."""
    field = model.model_fields.get("type") or model.model_fields.get("architecture")
    values = get_args(field.annotation) if field is not None else ()
    kind = values[0] if len(values) == 1 else KINDS.get(model)
    return f" ({kind})" if kind is not None else ""


def _row(name: str, field: FieldInfo) -> str:
    annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    schema = TypeAdapter(annotated).json_schema()
    kinds = dict.fromkeys(_kinds(schema, schema.get("$defs", {})))
    default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
    cells = [f"`{name}`", " or ".join(kinds), default, " ".join((field.description or "").split())]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its own"
    return f"`{json.dumps(value)}`"


def _kinds(schema: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    """Yield in words what a value may be."""
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
    arms = schema.get("anyOf") or schema.get("oneOf")
    if arms is not None:
        for arm in arms:
            yield from _kinds(arm, known)
    elif "enum" in schema or "const" in schema:
        yield ", ".join(f"`{json.dumps(one)}`" for one in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        items = schema.get("items", {})
        of = " or ".join(dict.fromkeys(_kinds(items, known))) if items.get("type") != "array" else "pairs"
        yield f"list of {of}" if of else "list"
    elif schema.get("type") == "object":
        yield "object"
    elif schema.get("type") == "null":
        yield "null"
    elif "type" in schema:
        yield JSON_TYPES[schema["type"]] + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    if "exclusiveMaximum" in schema:
        del bounds["maximum"]
    found = [f"{word} {schema[key]:,}" for key, word in bounds.items() if key in schema]
    return " " + " ".join(found) if found else ""


if __name__ == "__main__":
    sys.stdout.write(page())
