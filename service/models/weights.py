"""Safetensors headers: what the weights are, judged without reading them (huggingface/safetensors, format)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.models import bounded_json
from service.models.faults import refused

MAX_HEADER_BYTES = 32 << 20
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
WEIGHTS = frozenset({"F8_E5M2", "F8_E4M3", "F16", "BF16", "F32", "F64"})
"""Integers are positions and masks, not parameters."""


@dataclass(frozen=True)
class Counts:
    parameters: int
    embedding_parameters: int


def count(files: list[Path]) -> Counts:
    """Parameters in all files, a tensor of one name once. Raises ModelRefused for a header that lies."""
    sizes: dict[str, int] = {}
    for path in files:
        for name, tensor in _header(path).items():
            if tensor["dtype"] in WEIGHTS:
                sizes[name] = math.prod(tensor["shape"])
    embeddings = sum(size for name, size in sizes.items() if "embed" in name.lower())
    return Counts(sum(sizes.values()), embeddings)


def _header(path: Path) -> dict[str, Any]:
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if file_bytes < 8 or length > min(MAX_HEADER_BYTES, file_bytes - 8):
            raise _broken(path, "the header's length is not true")
        try:
            header = bounded_json.loads(file.read(length))
        except bounded_json.TooManyValues as error:
            raise _broken(path, f"the header {error}") from None
        except (ValueError, RecursionError):
            raise _broken(path, "the header is not JSON") from None
    if not isinstance(header, dict):
        raise _broken(path, "the header is no object")
    header.pop("__metadata__", None)
    _check_places(path, header, file_bytes - 8 - length)
    return header


def _check_places(path: Path, header: dict[str, Any], data_bytes: int) -> None:
    """Tensors must lie side by side and fill the file."""
    spans = []
    for name, tensor in header.items():
        try:
            bits, shape, (start, end) = DTYPE_BITS[tensor["dtype"]], tensor["shape"], tensor["data_offsets"]
            whole = all(type(number) is int and 0 <= number <= data_bytes for number in (start, end, *shape))
        except (KeyError, TypeError, ValueError):
            raise _broken(path, f"tensor '{name[:100]}' is not described as it must be") from None
        if not whole or (end - start) * 8 != math.prod(shape) * bits:
            raise _broken(path, f"tensor '{name[:100]}' has another size than its shape says")
        spans.append((start, end))
    place = 0
    for start, end in sorted(spans):
        if start != place:
            raise _broken(path, "tensors overlap or leave holes")
        place = end
    if place != data_bytes:
        raise _broken(path, "the file is longer or shorter than its tensors")


def _broken(path: Path, why: str) -> Exception:
    return refused("broken_weights", why, path.name)
