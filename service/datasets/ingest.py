"""From an uploaded file to typed examples: read once to check and learn the types, once more to write Parquet."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.settings import Settings
from service.datasets.bytes_in import PEEK_BYTES, open_expanded, refuse_utf16
from service.datasets.columns import Kind, Profile
from service.datasets.csv_records import csv_records
from service.datasets.faults import Refused, fault, refused
from service.datasets.json_records import is_document, json_document, json_lines
from service.datasets.parquet_records import MAGIC, parquet_records
from service.datasets.pictures import MAX_DECODED_OVER_EXPANDED, Picture, Pictures
from service.datasets.records import Enough, Findings, Record, Records, Value
from service.datasets.zip_records import MAGIC as ZIP_MAGIC
from service.datasets.zip_records import zip_records
from service.errors import InvalidUpload

ARROW: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "json": pa.string(),
    "image": pa.binary(),
}
MEDIA_TYPES = {
    "jsonl": "application/jsonl",
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "zip": "application/zip",
}
BATCH_EXAMPLES = 2000
BATCH_CHARACTERS = 16 << 20


@dataclass(frozen=True)
class Ingested:
    examples: int
    columns: list[dict[str, Any]]
    media_type: str


@dataclass(frozen=True)
class _Source:
    """A file whose format is known; `records` reads it from the beginning."""

    format: str
    records: Callable[[Findings], Records]


def ingest(content: Path, target: Path, filename: str, settings: Settings) -> Ingested:
    """Check `content` and write its examples to `target`. Raises InvalidUpload with the first ten faults."""
    findings = Findings()
    try:
        source = _recognise(content, target.parent, filename, settings)
        profile = Profile(max(1000, settings.max_labels), cells_are_text=source.format == "csv")
        for line, record in source.records(findings):
            wrong = profile.take(line, record)
            if wrong is not None:
                findings.tell(wrong)
    except Refused as error:
        raise InvalidUpload([*findings.faults, error.fault]) from None
    except Enough:
        raise InvalidUpload(findings.faults) from None
    if profile.examples == 0 and not findings.faults:
        findings.faults.append(fault("empty", "there is no example in the file"))
    if findings.faults:
        raise InvalidUpload(findings.faults)
    columns = profile.finish()
    _write(source.records(Findings(is_repeated=True)), profile, target)
    return Ingested(profile.examples, columns, MEDIA_TYPES[source.format])


def _recognise(content: Path, folder: Path, filename: str, settings: Settings) -> _Source:
    """Tell the format by content first, and by name where content could be several."""
    limit, longest = settings.max_dataset_expanded_bytes, settings.max_line_bytes
    with open_expanded(content, limit) as file:
        head = file.peek(PEEK_BYTES)[:PEEK_BYTES]
    if head.startswith(MAGIC):
        path = _plain_file(content, folder, limit)
        return _Source(
            "parquet", lambda findings: parquet_records(path, limit, findings, _pictures(settings, findings))
        )
    if head.startswith(ZIP_MAGIC):
        return _Source("zip", lambda findings: zip_records(content, limit, findings, _pictures(settings, findings)))
    refuse_utf16(head)
    if is_document(head):
        return _Source("json", partial(_read, content, limit, json_document, longest))
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    names = filename.lower().removesuffix(".gz").removesuffix(".zst")
    if start.startswith(b"{") or names.endswith((".jsonl", ".ndjson", ".json")):
        return _Source("jsonl", partial(_read, content, limit, json_lines, longest))
    if start and b"\0" in head and not names.endswith((".csv", ".tsv", ".txt")):
        raise refused("unknown_format", "this is no text")
    return _Source("csv", partial(_read, content, limit, csv_records, longest))


def _pictures(settings: Settings, findings: Findings) -> Pictures:
    most = MAX_DECODED_OVER_EXPANDED * settings.max_dataset_expanded_bytes
    return Pictures(settings.max_line_bytes, most, findings.is_repeated)


Reader = Callable[[io.BufferedReader, int, Findings], Records]


def _read(content: Path, limit: int, reader: Reader, max_line_bytes: int, findings: Findings) -> Records:
    with open_expanded(content, limit) as file:
        yield from reader(file, max_line_bytes, findings)


def _plain_file(content: Path, folder: Path, limit: int) -> Path:
    """Parquet is read from its end, so a packed one is unpacked first."""
    with content.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            return content
    path = folder / "unpacked.parquet"
    with open_expanded(content, limit) as packed, path.open("wb") as plain:
        while piece := packed.read(1 << 20):
            plain.write(piece)
    return path


def _write(records: Records, profile: Profile, target: Path) -> None:
    schema = pa.schema([(name, ARROW[column.kind or "string"]) for name, column in profile.columns.items()])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in _batches(records):
            arrays = [
                pa.array([column.convert(record.get(name)) for record in batch], schema.field(name).type)
                for name, column in profile.columns.items()
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _length(value: Value) -> int:
    """How much of a batch a value takes: characters, or an image's bytes."""
    if isinstance(value, Picture):
        return len(value.content)
    return len(value) if isinstance(value, str) else 0


def _batches(records: Records) -> Iterator[list[Record]]:
    batch: list[Record] = []
    characters = 0
    for _, record in records:
        batch.append(record)
        characters += sum(_length(value) for value in record.values())
        if len(batch) >= BATCH_EXAMPLES or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
