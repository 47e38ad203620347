"""What goes to another process through a file: all that it needs, and nothing twice."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from tests.worker.training.conftest import TINY
from tests.worker.training.test_trainer import texts
from worker.training.aim import Aim
from worker.training.lessons import Lessons
from worker.training.pupil import Pupil
from worker.training.sharing import Share, read_share, write_share


def share_of(pupil: Pupil, teacher: Any = None) -> Share:
    lessons = Lessons(np.arange(16), texts(16), np.zeros(16, dtype=np.int64), teacher)
    return Share(pupil, lessons, Aim(), 0, "fp32")


def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**{**TINY, "num_hidden_layers": 1})).eval()


def test_arrays_in_files_stay_there_and_parts_of_them_are_brought_along(tmp_path: Path) -> None:
    path = tmp_path / "teacher.npy"
    said = np.random.default_rng(0).normal(size=(100_000, 2)).astype(np.float32)
    np.save(path, said)
    mapped = np.load(path, mmap_mode="r")
    write_share(share_of(Pupil(bert()), mapped), tmp_path / "whole")
    write_share(share_of(Pupil(bert()), mapped[50_000:]), tmp_path / "part")
    whole, part = (read_share(tmp_path / name).lessons for name in ("whole", "part"))
    assert isinstance(whole, Lessons)
    assert isinstance(part, Lessons)
    assert isinstance(whole.teacher, np.memmap)
    np.testing.assert_array_equal(whole.teacher, said)
    np.testing.assert_array_equal(part.teacher, said[50_000:])
    assert (tmp_path / "whole").stat().st_size < (tmp_path / "part").stat().st_size - 300_000


def test_a_model_that_was_asked_for_hidden_states_tells_them_there_too(tmp_path: Path) -> None:
    model = bert()
    asked = {"input_ids": torch.arange(5, 11).unsqueeze(0), "output_hidden_states": True}
    hidden = model(**asked).hidden_states
    write_share(share_of(Pupil(model)), tmp_path / "share")
    shared: Any = read_share(tmp_path / "share").pupil.model
    assert shared.training is False
    for own, theirs in zip(hidden, shared(**asked).hidden_states, strict=True):
        torch.testing.assert_close(own, theirs)
    assert len(model(**asked).hidden_states) == len(hidden), "and here it still does"


def test_tied_weights_are_tied_there_too(tmp_path: Path) -> None:
    pupil = Pupil(bert())
    pupil.model.register_parameter("twin", pupil.model.get_parameter("classifier.weight"))
    write_share(share_of(copy.deepcopy(pupil)), tmp_path / "share")
    model = read_share(tmp_path / "share").pupil.model
    assert model.get_parameter("twin") is model.get_parameter("classifier.weight")
