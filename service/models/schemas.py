"""A model as the contract shows it: OpenAI's shape and what distillation needs to know."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from core.references import Name
from core.tables import Model


def _not_an_id(name: str) -> str:
    if name.startswith(("job_", "model_", "ds_")):
        raise PydanticCustomError("invalid_reference", "a name does not begin like an id (job_, model_, ds_)")
    return name


class ModelUpload(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file: UploadFile = Field(description="A .zip, .tar, .tar.gz or .tar.zst of a transformers folder.")
    name: Annotated[Name, AfterValidator(_not_an_id)]


class FileOut(BaseModel):
    path: str
    bytes: int
    sha256: str


class ModelOut(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="What a job's spec may call it: the name.")
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    model_id: str
    name: str
    source: Literal["uploaded", "distilled"]
    job: str | None
    task: str | None
    architecture: str
    labels: list[str] | None
    layers: int | None
    parameters: int
    embedding_parameters: int
    bytes: int
    sha256: str
    files: list[FileOut]
    created_at: datetime


def model_out(row: Model) -> ModelOut:
    same = ("name", "source", "task", "architecture", "labels", "layers", "parameters", "embedding_parameters")
    return ModelOut(
        id=row.name,
        created=int(row.created_at.timestamp()),
        owned_by=row.owner,
        model_id=row.id,
        job=row.job_id,
        bytes=row.bytes,
        sha256=row.sha256,
        files=[FileOut(path=file["path"], bytes=file["bytes"], sha256=file["sha256"]) for file in row.files],
        created_at=row.created_at,
        **{name: getattr(row, name) for name in same},
    )
