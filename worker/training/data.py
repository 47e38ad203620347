"""The data set: from a Parquet file to labels, parts, and texts or images that stay on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import DatasetUnusable
from core.spec import DatasetSpec
from worker.training.labels import by_number_or_name
from worker.training.split import Parts, Rows, drawn, named

UNLABELLED = -1
READ_ROWS = 4096

Content = Literal["text", "image"]
"""What an example shows to a model; the column that holds it is `dataset.columns.text` or `.image`."""
WITH_ARTICLE = {"text": "a text", "image": "an image"}


@dataclass(frozen=True)
class Examples:
    """All examples that have content; `codes` indexes `names`, UNLABELLED where there is no label."""

    path: Path
    rows: Rows
    """Where each example stands in the file."""
    names: list[str]
    codes: Rows
    parts: Parts
    without_content: int
    column: str
    text_pair: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labelled_train(self) -> Rows:
        train = self.parts.train
        labelled: Rows = train[self.codes[train] != UNLABELLED]
        return labelled

    def texts(self) -> Iterator[tuple[list[str], list[str] | None]]:
        """Yield the texts (and their pairs) in order, some thousands at a time."""
        columns = [self.column] if self.text_pair is None else list(dict.fromkeys([self.column, self.text_pair]))
        for kept in self.batches(columns, READ_ROWS):
            yield (
                _as_texts(kept.column(self.column)),
                _as_texts(kept.column(self.text_pair)) if self.text_pair else None,
            )

    def batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yield these columns of the examples in order, at most `rows` at a time."""
        wanted = np.zeros(pq.read_metadata(self.path).num_rows, dtype=bool)
        wanted[self.rows] = True
        start = 0
        for batch in pq.ParquetFile(self.path, memory_map=True).iter_batches(rows, columns=columns):
            kept = batch.filter(pa.array(wanted[start : start + len(batch)]))
            start += len(batch)
            if len(kept):
                yield kept


def read(path: Path, spec: DatasetSpec, seed: int, content: Content = "text") -> Examples:
    """Read what training needs to know of a data set; the texts or images themselves stay in the file.

    Raises:
        DatasetUnusable: a column is missing, or what is left cannot be learned from.
    """
    columns = spec.columns
    column = columns.text if content == "text" else columns.image
    pair = columns.text_pair if content == "text" else None
    file = pq.ParquetFile(path, memory_map=True)
    _check_columns(file.schema_arrow.names, (column, pair, columns.split))
    rows = _with_text(file, column) if content == "text" else _with_image(file, column)
    without_content = file.metadata.num_rows - len(rows)
    if spec.max_examples is not None and spec.max_examples < len(rows):
        rows = np.sort(np.random.default_rng([seed, 1]).permutation(rows)[: spec.max_examples])
    if not len(rows):
        raise DatasetUnusable(f"no example has {WITH_ARTICLE[content]} in column '{column}'")
    names, codes = _labels(file, columns.label, rows)
    if columns.split is not None:
        parts = named(_as_labels(file.read([columns.split]).column(columns.split)).take(pa.array(rows)).to_pylist())
    else:
        parts = drawn(codes, spec.validation, spec.test, seed)
    examples = Examples(path, rows, names, codes, parts, without_content, column, pair)
    _check_parts(examples)
    return examples


def _check_columns(present: list[str], wanted: tuple[str | None, ...]) -> None:
    for column in wanted:
        if column is not None and column not in present:
            raise DatasetUnusable(f"the data set has no column '{column}'; it has {', '.join(present)}")


def _with_text(file: pq.ParquetFile, column: str) -> Rows:
    found = []
    start = 0
    for batch in file.iter_batches(READ_ROWS, columns=[column]):
        texts = np.array([bool(text.strip()) for text in _as_texts(batch.column(column))], dtype=bool)
        found.append(np.flatnonzero(texts) + start)
        start += len(batch)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _with_image(file: pq.ParquetFile, column: str) -> Rows:
    found = [np.zeros(0, dtype=bool)]
    found += [np.asarray(batch.column(column).is_valid()) for batch in file.iter_batches(READ_ROWS, columns=[column])]
    return np.flatnonzero(np.concatenate(found)).astype(np.int64)


def _as_texts(column: Any) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _as_labels(column: pa.ChunkedArray) -> pa.Array:
    """Return labels as strings: null, empty and not-a-number are none; 1.0 from a column with gaps is 1 again."""
    names = [None if value is None or value != value else value for value in column.to_pylist()]
    if pa.types.is_floating(column.type) and all(value is None or float(value).is_integer() for value in names):
        names = [None if value is None else int(value) for value in names]
    return pa.array([None if value is None or not str(value).strip() else str(value) for value in names], pa.string())


def _labels(file: pq.ParquetFile, column: str, rows: Rows) -> tuple[list[str], Rows]:
    if column not in file.schema_arrow.names:
        return [], np.full(len(rows), UNLABELLED, dtype=np.int64)
    labels = _as_labels(file.read([column]).column(column)).take(pa.array(rows))
    names = by_number_or_name(pc.unique(labels.drop_null()).to_pylist())
    place = {name: index for index, name in enumerate(names)}
    codes = [UNLABELLED if label is None else place[label] for label in labels.to_pylist()]
    return names, np.array(codes, dtype=np.int64)


def _check_parts(examples: Examples) -> None:
    parts, codes = examples.parts, examples.codes
    if not len(parts.train):
        raise DatasetUnusable("nothing is left to train on after validation and test are taken away")
    if not len(parts.held_out):
        raise DatasetUnusable("nothing is held out: give dataset.test or dataset.validation a share, or a split column")
    if len(examples.names) == 1:
        raise DatasetUnusable(f"all labels are '{examples.names[0]}': there is nothing to tell apart")
    if examples.names and not (codes[parts.held_out] != UNLABELLED).any():
        raise DatasetUnusable(f"no example of the {parts.held_out_name} part has a label, so nothing can be measured")
