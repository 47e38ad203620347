"""The contract as OpenAPI 3.1: every status that an endpoint can answer, each with the one error body."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import PROBLEM_MEDIA_TYPE, Problem

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
EVERYWHERE = (400, 401, 403, 408, 413, 421, 422, 500, 503)

TAGS = [
    {"name": "jobs", "description": "Distil a small model from a large one."},
    {"name": "sweeps", "description": "The same job with other values: one table of what each is worth."},
    {"name": "artifacts", "description": "What a job left to download."},
    {"name": "datasets", "description": "Examples to learn from."},
    {"name": "models", "description": "Teachers and students."},
    {
        "name": "inference",
        "description": "Ask a model for texts, in the shapes of OpenAI's API, or for labels.",
    },
    {"name": "secrets", "description": "Values that jobs use by name and nobody reads back."},
    {"name": "api-keys", "description": "Who may ask (scope admin)."},
    {"name": "system", "description": "How the service is."},
]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route below /v1: those named and those that every route has."""
    return {status: problem_answer(status) for status in sorted({*statuses, *EVERYWHERE})}


def problem_answer(status: int) -> dict[str, Any]:
    content = {PROBLEM_MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def binary(media_type: str, description: str) -> dict[str, Any]:
    """An answer of bytes."""
    return {"description": description, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}


def text(media_type: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


def describe(app: FastAPI) -> None:
    """Give `app` an openapi() that holds the Problem schema and what middleware answers."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
            )
            _complete(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _complete(document: dict[str, Any]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "dk_…"}}
    for path, operations in document["paths"].items():
        if path.startswith("/v1"):
            for operation in operations.values():
                # Without any key on a loopback address no key is asked for: hence the empty alternative.
                operation["security"] = [{"key": []}, {}]
