"""Parquet: typed already. Sizes are judged from its footer before anything is unpacked, and again while it is."""

import datetime
import decimal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.datasets.csv_records import MAX_COLUMNS, MAX_NAME
from service.datasets.faults import fault, refused
from service.datasets.pictures import NotAPicture, Picture, Pictures
from service.datasets.records import Findings, Record, Records, Value

MAGIC = b"PAR1"
# Few at once: a dictionary can hide a long text behind each of many small numbers.
BATCH_ROWS = 128


def parquet_records(path: Path, max_bytes: int, findings: Findings, pictures: Pictures) -> Records:
    """Yield (number of the example from 1, record). Raises Refused."""
    with _in_words(), pq.ParquetFile(path) as file:
        _check(file, max_bytes)
        images = {field.name for field in file.schema_arrow if _holds_images(field.type)}
        number, unpacked_bytes = 0, 0
        for batch in file.iter_batches(BATCH_ROWS):
            unpacked_bytes += batch.nbytes
            if unpacked_bytes > max_bytes:
                raise refused("too_large_expanded", f"unpacked it has more than {max_bytes} bytes")
            for row in batch.to_pylist():
                number += 1
                record: Record = {name: _plain(value) for name, value in row.items() if name not in images}
                for name in images:
                    record[name] = _picture(row[name], pictures, findings, number, name)
                yield number, {name: record[name] for name in row}


def _check(file: pq.ParquetFile, max_bytes: int) -> None:
    schema, metadata = file.schema_arrow, file.metadata
    if len(schema.names) > MAX_COLUMNS:
        raise refused("too_many_columns", f"there are {len(schema.names)} columns")
    if len(set(schema.names)) < len(schema.names):
        raise refused("duplicate_column", "two columns have one name")
    total_bytes = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
    if total_bytes > max_bytes:
        raise refused("too_large_expanded", f"unpacked it has {total_bytes} bytes, {max_bytes} are allowed")
    for field in schema:
        if not field.name or len(field.name) > MAX_NAME:
            raise refused("nameless_column", "a column has no usable name")
        if not _is_supported(field.type) and not _holds_images(field.type):
            raise refused("unsupported_type", f"column '{field.name}' holds {field.type}", column=field.name)


def _is_supported(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_supported(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_supported(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_is_supported(kind.field(place).type) for place in range(kind.num_fields))
    checks = (
        "string",
        "large_string",
        "string_view",
        "integer",
        "floating",
        "boolean",
        "null",
        "decimal",
        "date",
        "timestamp",
    )
    return any(getattr(pa.types, f"is_{check}")(kind) for check in checks)


def _holds_images(kind: pa.DataType) -> bool:
    """Bytes alone, or beside a path, as the datasets library writes images."""
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and kind.num_fields <= 2 and _holds_images(kind.field(place).type)
    return any(getattr(pa.types, f"is_{check}")(kind) for check in ("binary", "large_binary", "binary_view"))


def _picture(value: Any, pictures: Pictures, findings: Findings, number: int, name: str) -> Picture | None:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        return None
    try:
        return pictures.take(content)
    except NotAPicture as wrong:
        findings.tell(fault(wrong.code, wrong.detail, line=number, column=name))
        return None


def _plain(value: Any) -> Value:
    """As JSON would hold it. Not-a-number is null, which is what it means in a data frame."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    plain: Value = value
    return plain


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise refused("broken_parquet", f"the file cannot be read: {str(error).splitlines()[0]}") from error
