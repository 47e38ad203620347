"""What can be wrong with an uploaded data set, and where."""

from service.problems import Fault

MAX_FAULTS = 10
POINTER = "/file"

DATASET_HINTS = {
    "empty": "Upload at least one example.",
    "unknown_format": "Upload JSONL, JSON, CSV, TSV or Parquet, plain or packed with gzip or zstd; images in a zip.",
    "broken_archive": "Pack the file again with gzip or zstd; images with zip, stored or deflated, without a password.",
    "too_large_expanded": "Split the data set; the operator sets DISTILL_MAX_DATASET_EXPANDED_BYTES.",
    "line_too_long": "Shorten or split the example; the operator sets DISTILL_MAX_LINE_BYTES.",
    "utf16": "Save the file as UTF-8.",
    "broken_utf8": "Save the file as UTF-8.",
    "nul_character": "Remove the NUL character.",
    "lone_surrogate": "Replace the half of a surrogate pair by the whole character.",
    "broken_json": "Write one JSON object per line, or one array of objects.",
    "not_an_object": 'Write each example as an object, such as {"text": "…", "label": "…"}.',
    "duplicate_key": "Keep each key once.",
    "not_finite": "Write null where there is no number.",
    "too_deep": "Flatten the example.",
    "number_too_large": "Write numbers beyond 64 bits as text.",
    "mixed_types": "Give a column one type: quote the numbers, or leave the text out.",
    "ragged_line": "Give each line as many cells as the header; quote cells that hold the delimiter or a line break.",
    "unclosed_quote": 'Close the quote; a quote inside a quoted cell is doubled: "".',
    "broken_csv": "Quote cells that hold quotes or line breaks.",
    "duplicate_column": "Give each column a name of its own.",
    "nameless_column": "Give each column a name in the first line, of at most 200 characters.",
    "too_many_columns": "Keep at most 1000 columns.",
    "broken_parquet": "Write the file again; pandas.read_parquet must read it.",
    "unsupported_type": "Turn the column into text, numbers, booleans, lists, structs or the bytes of images.",
    "not_an_image": "Save it as PNG, JPEG, WebP, BMP or PPM, or leave it out; tables are uploaded without a zip.",
    "broken_image": "Save the image again, or leave it out.",
    "image_too_large": "Scale it down: at most 16777216 pixels, and as a file at most DISTILL_MAX_LINE_BYTES.",
    "unsupported_image": "Save it as one still image with 8 bits per channel.",
    "too_many_members": "Pack at most 200000 images, or upload them as Parquet.",
    "broken_idx": "Pack the files again as they were published: unsigned bytes, two dimensions per image.",
    "unpaired_idx": "Pack images and labels side by side, as train-images-idx3-ubyte and train-labels-idx1-ubyte.",
}


class Refused(Exception):
    """One fault that ends the reading."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def fault(code: str, detail: str, *, line: int | None = None, column: int | str | None = None) -> Fault:
    place = f"line {line}" + (f", column {column!r}" if column is not None else "") + ": " if line is not None else ""
    return Fault(pointer=POINTER, detail=place + detail, code=code, hint=DATASET_HINTS[code], line=line, column=column)


def refused(code: str, detail: str, *, line: int | None = None, column: int | str | None = None) -> Refused:
    return Refused(fault(code, detail, line=line, column=column))
