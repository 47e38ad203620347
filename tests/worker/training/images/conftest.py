"""Digits of 8 x 8 pixels as a data set, and tiny image classifiers: no network, a second or two for each job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from core.spec import JobSpec
from tests.worker.training.conftest import Notebook, write_parquet
from worker.training.distil import Inputs, Outcome, distil

TEST, TRAIN = 400, 600
VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16}
MLP: dict[str, Any] = {"architecture": "mlp", "hidden": [32, 32]}


def grey(pixels_HW: Any) -> bytes:
    """A grey image as a portable greymap."""
    height, width = pixels_HW.shape
    return b"P5\n%d %d\n255\n" % (width, height) + pixels_HW.astype(np.uint8).tobytes()


def digits(train: int = TRAIN, labelled: int | None = None) -> dict[str, list[Any]]:
    """Columns image, label and part; the first `labelled` of the training examples keep their label."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))[: TEST + train]
    images = [grey(found.images[place] * 15) for place in order]
    parts = ["test"] * TEST + ["train"] * train
    labels = [int(found.target[place]) for place in order]
    known = train if labelled is None else labelled
    return {"image": images, "label": labels[: TEST + known] + [None] * (train - known), "part": parts}


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parquet(tmp_path_factory.mktemp("digits") / "digits.parquet", digits())


@pytest.fixture(scope="session")
def few_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images; only 30 of those for training have a label."""
    return write_parquet(tmp_path_factory.mktemp("digits") / "few.parquet", digits(labelled=30))


def named(classes: list[str]) -> dict[str, Any]:
    names = dict(enumerate(classes))
    return {"id2label": names, "label2id": {name: place for place, name in names.items()}}


DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of digits in colour, 16 x 16 pixels, with random weights that are large enough to have opinions."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(3)
    model = ViTForImageClassification(ViTConfig(**VIT, patch_size=8, **named(DIGITS)))
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def resnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(4)
    shape: dict[str, Any] = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    ResNetForImageClassification(ResNetConfig(**shape, **named(DIGITS))).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def image_spec(**changes: Any) -> JobSpec:
    """A small job on digits; `changes` replace its parts."""
    written: dict[str, Any] = {
        "task": "image-classification",
        "teacher": "teacher",
        "student": {"config": MLP},
        "dataset": {"id": "ds", "validation": 0.0, "test": 0.0, "columns": {"split": "part"}},
        "evaluation": {"baseline": False},
        "training": {"max_steps": 6, "batch_size": 32, "learning_rate": 1e-3},
    }
    for key, value in changes.items():
        lays_over = isinstance(written.get(key), Mapping) and key != "student"
        written[key] = {**written[key], **value} if lays_over else value
    return JobSpec.model_validate(written)


def run_job(
    folder: Path,
    data: Path,
    *teachers: Path,
    observer: Notebook | None = None,
    student_folder: Path | None = None,
    **changes: Any,
) -> Outcome:
    """Run one job in `folder`; without teachers it is one on labels alone."""
    alone = {} if teachers else {"teacher": None, "alpha": 0.0}
    inputs = Inputs(image_spec(**{**alone, **changes}), folder, teachers, student_folder, data, {})
    return distil(inputs, observer or Notebook())


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory, digits_file: Path) -> Outcome:
    """An MLP that learned the digits from all labels: the teacher of other jobs."""
    config = {**MLP, "hidden": [64, 64]}
    return run_job(
        tmp_path_factory.mktemp("taught"),
        digits_file,
        student={"config": config},
        training={"max_steps": 150, "learning_rate": 1e-2, "batch_size": 64},
    )
