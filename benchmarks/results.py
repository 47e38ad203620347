"""RESULTS.md: one section for each benchmark, dated, with the machine and the versions."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def stamp() -> str:
    """When and on what it was measured."""
    return f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; {versions()}"


def machine() -> str:
    """The processor and how much of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {os.cpu_count()} cores"


def versions() -> str:
    named = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    return f"Python {platform.python_version()}, {named}"


def rewritten(text: str, heading: str, made: str) -> str:
    """The page with its section of that heading replaced, or added at the end."""
    before, found, after = text.partition(heading)
    if not found:
        return f"{text.rstrip()}\n\n{made}" if text.strip() else f"# Results\n\n{made}"
    _, next_heading, rest = after.partition("\n## ")
    return before + made + (f"\n## {rest}" if next_heading else "")


def publish(heading: str, made: str) -> None:
    """Print a section and put it into RESULTS.md."""
    RESULTS.write_text(rewritten(RESULTS.read_text() if RESULTS.is_file() else "", heading, made))
    print(made)
