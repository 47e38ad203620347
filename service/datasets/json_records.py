"""JSON Lines, and one JSON document that holds an array of objects."""

import io
import json
import re
from typing import Any, NoReturn

from service.datasets.bytes_in import BOM, lines_of
from service.datasets.faults import Refused, fault, refused
from service.datasets.records import Findings, Records
from service.problems import Fault

ARRAY_START = re.compile(rb"^(?:\xef\xbb\xbf)?\s*\[")
DATA_START = re.compile(rb'^(?:\xef\xbb\xbf)?\s*\{\s*"data"\s*:\s*\[')
SPACE = re.compile(r"[ \t\r\n]*")
READ_BYTES = 1 << 16


def is_document(head: bytes) -> bool:
    """Whether a file that begins with `head` is one document rather than a line per example."""
    if ARRAY_START.match(head):
        return True
    if not DATA_START.match(head):
        return False
    # {"data": [1, 2]} may also be the first of many lines; only a document goes on or ends inside its first line.
    first, _, rest = head.partition(b"\n")
    try:
        examples = json.loads(first)["data"]
    except ValueError:
        return True
    return not rest.strip() and all(isinstance(example, dict) for example in examples)


def json_lines(source: io.BufferedReader, max_line_bytes: int, findings: Findings) -> Records:
    for number, line in lines_of(source, max_line_bytes):
        if not line.strip():
            continue
        found = _parse_line(line, number)
        if isinstance(found, Fault):
            findings.tell(found)
        else:
            yield number, found


def _parse_line(line: bytes, number: int) -> dict[str, Any] | Fault:
    text = decode(line, number)
    if isinstance(text, Fault):
        return text
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return fault("broken_json", error.msg, line=number, column=error.colno)
    except (ValueError, RecursionError) as error:
        return _odd(error, number)
    if not isinstance(value, dict):
        return fault("not_an_object", f"this is {_kind(value)}, not an object", line=number, column=1)
    return value


def decode(line: bytes, number: int) -> str | Fault:
    """The line as text, or what is wrong with its bytes."""
    if b"\0" in line:
        return fault("nul_character", "there is a NUL character", line=number, column=line.index(b"\0") + 1)
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return fault("broken_utf8", f"byte 0x{line[error.start]:02x} is not UTF-8", line=number, column=error.start + 1)


def json_document(source: io.BufferedReader, max_line_bytes: int, findings: Findings) -> Records:
    """Yield the objects of `[…]` or `{"data": […]}`, each held in memory alone. Raises Refused where it breaks off."""
    text = _Text(source, max_line_bytes)
    closing = "]"
    if text.next_character() == "{":
        for expected in ("{", '"data"', ":"):
            text.expect(expected)
        closing = "]}"
    text.expect("[")
    if text.next_character() == "]":
        text.expect("]")
        return
    while True:
        line = text.line_of_next()
        try:
            value = text.value()
        except (ValueError, RecursionError) as error:
            raise Refused(_odd(error, line)) from None
        if isinstance(value, dict):
            yield line, value
        else:
            findings.tell(fault("not_an_object", f"this is {_kind(value)}, not an object", line=line))
        if text.next_character() != ",":
            break
        text.expect(",")
    for expected in closing:
        text.expect(expected)
    if text.next_character():
        raise refused("broken_json", "something follows the document's end", line=text.line)


class _Text:
    """A document read piece by piece: holds what is not parsed yet, and the line it is at."""

    def __init__(self, source: io.BufferedReader, max_value_bytes: int) -> None:
        self.lines = io.TextIOWrapper(source, encoding="utf-8", errors="strict", newline="")
        self.max_value_bytes = max_value_bytes
        self.held, self.line, self.has_ended = "", 1, False
        self.more()
        self.held = self.held.removeprefix(BOM.decode())

    def more(self, size: int = READ_BYTES) -> None:
        try:
            piece = self.lines.read(size)
        except UnicodeDecodeError as error:
            raise refused(
                "broken_utf8", f"a byte 0x{error.object[error.start]:02x} is not UTF-8", line=self.line
            ) from None
        if "\0" in piece:
            raise refused("nul_character", "there is a NUL character", line=self.line)
        self.held += piece
        self.has_ended = not piece

    def next_character(self) -> str:
        """The next that is no space, or nothing at the end."""
        while True:
            blank = SPACE.match(self.held)
            assert blank is not None, "the pattern matches the empty string"
            self._drop(blank.end())
            if self.held or self.has_ended:
                return self.held[:1]
            self.more()

    def line_of_next(self) -> int:
        self.next_character()
        return self.line

    def expect(self, word: str) -> None:
        self.next_character()
        if not self.held.startswith(word):
            found = self.held[:1] or "the end"
            raise refused("broken_json", f"expected {word}, found {found}", line=self.line)
        self._drop(len(word))

    def value(self) -> Any:
        """Parse one value, reading on until it is whole. Raises ValueError where it never will be."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.held)
            except json.JSONDecodeError:
                if self.has_ended:
                    raise
            else:
                # A number or word that ends where the text held ends may go on.
                if end < len(self.held) or self.has_ended:
                    self._drop(end)
                    return value
            if len(self.held) > self.max_value_bytes:
                raise refused("line_too_long", f"an example has more than {self.max_value_bytes} bytes", line=self.line)
            # As much again: reading a long value in small steps would parse it over and over.
            self.more(max(READ_BYTES, len(self.held)))

    def _drop(self, count: int) -> None:
        self.line += self.held.count("\n", 0, count)
        self.held = self.held[count:]


class _DuplicateKey(ValueError):
    pass


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKey(next(key for key in keys if keys.count(key) > 1))
    return found


class _NotFinite(ValueError):
    pass


def _not_finite(word: str) -> NoReturn:
    raise _NotFinite(word)


_DECODER = json.JSONDecoder(object_pairs_hook=_each_key_once, parse_constant=_not_finite)


def _odd(error: ValueError | RecursionError, line: int) -> Fault:
    if isinstance(error, RecursionError):
        return fault("too_deep", "the example is nested too deeply", line=line)
    if isinstance(error, _DuplicateKey):
        return fault("duplicate_key", f"the key '{error.args[0][:100]}' stands twice", line=line)
    if isinstance(error, _NotFinite):
        return fault("not_finite", f"{error} is no JSON number", line=line)
    if isinstance(error, json.JSONDecodeError):
        return fault("broken_json", error.msg, line=line + error.lineno - 1)
    return fault("number_too_large", "a number has too many digits", line=line)


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
