"""What the SmolLM2 examples lay out, without a network: texts that are whole, apart, and held out by editorial."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.spec import JobSpec
from examples.movie_reviews.fetch import INNER_ARCHIVE
from examples.smollm import fetch

FOLDER = Path(fetch.__file__).parents[1]
JOBS = sorted(f"{path.parent.name}/{path.name}" for path in FOLDER.glob("smollm_*/*.json"))
sentences = st.lists(st.integers(0, 999).map("sentence {}.".format), max_size=12)


@given(st.lists(sentences, max_size=25))
def test_continuations_are_whole_sentences_and_overlap_nowhere(texts: list[list[str]]) -> None:
    made = list(fetch.continuations(texts))
    said = [one["prompt"] + one["completion"] for one in made]
    assert said == [" ".join(text[at : at + 3]) for text in texts for at in range(0, len(text) - 2, 3)]


def test_an_editorial_is_held_out_whole() -> None:
    made = list(fetch.continuations([[f"{number}.{place}" for place in range(9)] for number in range(30)]))
    parts = {number: {one["split"] for one in made if one["prompt"].startswith(f"{number}.")} for number in range(30)}
    assert [number for number, split in parts.items() if split == {"test"}] == [0, 10, 20]
    assert all(split == {"train"} for number, split in parts.items() if number % 10)


def test_editorials_are_put_together_from_numbered_sentences(tmp_path: Path) -> None:
    lines = "1_1\t0.4\tOne.\n1_2\t0.1\tTwo.\n2_1\t-1.0\tThree.\n\n"
    inner = packed({fetch.EDITORIALS: lines.encode()})
    (tmp_path / "sdist").write_bytes(packed({INNER_ARCHIVE: inner}))
    assert fetch.read_editorials(tmp_path / "sdist") == [["One.", "Two."], ["Three."]]


def test_a_question_is_asked_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        wheel.writestr(f"{fetch.ENGLISH}a.yml", "conversations:\n- ['Who?', Me.]\n- ['Who?', You.]\n- [Alone]\n")
        wheel.writestr("chatterbot_corpus/data/german/a.yml", "conversations:\n- [Wer?, Ich.]\n")
    assert list(fetch.read_dialogues(tmp_path / "wheel")) == [{"prompt": "Who?", "completion": "Me."}]


@pytest.mark.parametrize("name", JOBS)
def test_each_job_is_a_job_that_makes_a_third_of_the_teacher(name: str) -> None:
    spec = read(FOLDER / name)
    assert spec.task == "text-generation"
    if spec.student.model is not None:
        before = read((FOLDER / name).with_name("start.json"))
        assert spec.student.model == before.output.model, "it goes on with the student of the job before"
        spec = before
    assert spec.student.from_teacher is not None
    assert len(spec.student.from_teacher.layers) == 10


def read(job: Path) -> JobSpec:
    return JobSpec.model_validate(json.loads(job.read_text(encoding="utf-8")))


def packed(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return archive.getvalue()
