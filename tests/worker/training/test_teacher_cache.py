"""A teacher reads a text once, however many jobs ask; and each job hears what it would have heard alone."""

from pathlib import Path

import numpy as np

from tests.worker.training.conftest import Lab, Notebook
from worker.training.teacher_cache import TeacherCache

HEARD = "has read these texts for an earlier job"
QUICK = {"max_steps": 4}


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_jobs_that_differ_in_t_and_alpha_share_one_teacher_pass(lab: Lab, tmp_path: Path) -> None:
    first, second = Notebook(), Notebook()
    lab.run(first, folder="one", cache=tmp_path / "cache", training=QUICK)
    shared = lab.run(second, folder="two", cache=tmp_path / "cache", training=QUICK, T=4.0, alpha=0.9)
    alone = lab.run(folder="three", training=QUICK, T=4.0, alpha=0.9)
    assert not first.said(HEARD)
    assert second.said(HEARD)
    assert weights(shared.student) == weights(alone.student)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_another_length_is_another_reading(lab: Lab, tmp_path: Path) -> None:
    notebook = Notebook()
    lab.run(folder="one", cache=tmp_path / "cache", training={**QUICK, "max_length": 32})
    lab.run(notebook, folder="two", cache=tmp_path / "cache", training={**QUICK, "max_length": 8})
    assert not notebook.said(HEARD)


def test_a_teacher_that_learns_in_its_job_is_not_shared(lab: Lab, tmp_path: Path, encoder_folder: Path) -> None:
    teacher = {"model": "teacher", "finetune": {"epochs": 1, "learning_rate": 1e-3}}
    lab.run(cache=tmp_path / "cache", teachers=(encoder_folder,), teacher=teacher, training={"max_steps": 1})
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_read_anew(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, ["sha"])
    cache.keep("key", np.ones((2, 3), dtype=np.float32), tmp_path / "unused")
    (tmp_path / "key.npy").write_bytes(b"\x93NUMPY")
    assert cache.find("key") is None


def test_what_is_kept_is_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    for cache, key in ((TeacherCache(), None), (TeacherCache(tmp_path / "cache", ["sha"]), "key")):
        kept = cache.keep(key, np.arange(6, dtype=np.float32).reshape(3, 2), tmp_path / "own" / "logits.npy")
        assert isinstance(kept, np.memmap)
        assert kept.tolist() == [[0, 1], [2, 3], [4, 5]]
        assert not kept.flags.writeable
