"""CSV and TSV (RFC 4180): a header, then lines of as many cells. An empty cell is null."""

import csv
import io
from collections.abc import Iterator

from service.datasets.bytes_in import lines_of
from service.datasets.faults import fault, refused
from service.datasets.json_records import decode
from service.datasets.records import Findings, Records
from service.problems import Fault

DELIMITERS = ",\t;"
MAX_COLUMNS = 1000
MAX_NAME = 200


def csv_records(source: io.BufferedReader, max_line_bytes: int, findings: Findings) -> Records:
    # The module's own limit is global and far lower than ours, which bounds each line already.
    csv.field_size_limit(max(csv.field_size_limit(), max_line_bytes))
    lines = _decoded(source, max_line_bytes, findings)
    head = next(lines, "")
    cells = csv.reader(_again(head, lines), delimiter=delimiter_of(head), strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            row = next(cells, None)
        except csv.Error as error:
            raise _broken(str(error), start, cells.line_num) from None
        if row is None:
            return
        if header is None:
            header = _checked_header(row)
        elif row and len(row) != len(header):
            detail = f"there are {len(row)} cells, the header has {len(header)}"
            findings.tell(fault("ragged_line", detail, line=start))
        elif row:
            yield start, {name: cell or None for name, cell in zip(header, row, strict=True)}
        start = cells.line_num + 1


def delimiter_of(header: str) -> str:
    """The one that the header has most of; a comma where it has none."""
    return max(DELIMITERS, key=header.count)


def _decoded(source: io.BufferedReader, max_line_bytes: int, findings: Findings) -> Iterator[str]:
    for number, line in lines_of(source, max_line_bytes):
        text = decode(line, number)
        if isinstance(text, Fault):
            findings.tell(text)
            # The rest is read on, to list its faults as well; with one fault known nothing is kept.
            text = line.replace(b"\0", b"").decode(errors="replace")
        yield text


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _checked_header(names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    if len(names) > MAX_COLUMNS:
        raise refused("too_many_columns", f"there are {len(names)} columns", line=1)
    for place, name in enumerate(names, 1):
        if not name or len(name) > MAX_NAME:
            raise refused("nameless_column", f"column {place} has no usable name", line=1, column=place)
        if name in names[: place - 1]:
            raise refused("duplicate_column", f"two columns are called '{name}'", line=1, column=place)
    return names


def _broken(reason: str, start: int, last: int) -> Exception:
    if "unexpected end of data" in reason:
        return refused("unclosed_quote", f"a quote that opens here is never closed (read to line {last})", line=start)
    if "field larger" in reason:
        return refused("unclosed_quote", "a cell that begins here is too long; is its quote closed?", line=start)
    return refused("broken_csv", reason, line=last)
