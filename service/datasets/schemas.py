"""A data set as the contract shows it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.tables import Dataset
from service.datasets.columns import Kind
from service.datasets.reading import ReadingOut


class DatasetUpload(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file: UploadFile = Field(
        description="JSONL, JSON, CSV, TSV or Parquet, plain or packed with gzip or zstd; or a zip of images in "
        "folders named for their labels, or of IDX files."
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class FrameOut(BaseModel):
    widths: tuple[int, int] = Field(description="The smallest and the largest, in pixels.")
    heights: tuple[int, int]
    channels: int = Field(description="1 where all images are grey, else 3.")


class ColumnOut(BaseModel):
    name: str
    type: Kind
    nulls: int
    values: dict[str, int] | None = Field(description="How often each value stands there; null where there are many.")
    mean_characters: float | None
    images: FrameOut | None = Field(None, description="What a column of images has in common.")


class DatasetOut(BaseModel):
    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    filename: str
    media_type: str
    bytes: int
    sha256: str
    examples: int
    columns: list[ColumnOut]
    derived_from: str | None = Field(description="The job whose teacher wrote it; null where it was uploaded.")
    created_at: datetime


def dataset_out(row: Dataset) -> DatasetOut:
    return DatasetOut.model_validate(row, from_attributes=True)


class ExamplesOut(BaseModel):
    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    readings: list[ReadingOut] | None = Field(
        None, description="With `tokenizer`: each example as that language model reads it."
    )
    offset: int
    total: int
    has_more: bool
