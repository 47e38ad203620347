"""The network on raw pixels: a transformers model here, and loadable with torch alone elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import dropout
from transformers import AutoModelForImageClassification

from core.errors import StudentUnusable
from tests.worker.training.images.conftest import MLP, run_job
from worker.training.distil import Outcome
from worker.training.images.mlp import PixelMlpConfig, PixelMlpForImageClassification

ALONE = """
import sys
sys.modules["transformers"] = None  # an import of it fails
{snippet}
from safetensors.torch import save_file
save_file({{"logits": logits_of(load_file("pixels.safetensors")["pixels"])}}, "logits.safetensors")
"""


def test_the_papers_networks_have_their_sizes() -> None:
    """Hinton, Vinyals and Dean 2015, section 3: 784 pixels, two hidden layers, ten classes."""
    with torch.device("meta"):
        teacher, student = (
            PixelMlpForImageClassification(PixelMlpConfig(hidden_sizes=[width] * 2, num_labels=10))
            for width in (1200, 800)
        )
    for model, width in ((teacher, 1200), (student, 800)):
        expected = 784 * width + width + width * width + width + width * 10 + 10
        assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_a_saved_network_loads_with_the_auto_class_and_says_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = PixelMlpConfig(image_size=[4, 5], num_channels=3, hidden_sizes=[7, 6], dropout=0.5, num_labels=3)
    model = PixelMlpForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path)
    images = torch.rand(8, 3, 4, 5)
    assert loaded(images).logits.equal(model(images).logits)


def test_dropout_leaves_out_pixels_and_units_in_training_alone() -> None:
    torch.manual_seed(0)
    config = PixelMlpConfig(image_size=[4, 4], hidden_sizes=[64], dropout=0.5, input_dropout=0.25, num_labels=2)
    model = PixelMlpForImageClassification(config).train()
    images = torch.rand(3, 1, 4, 4)
    torch.manual_seed(1)
    found = model(images).logits
    torch.manual_seed(1)
    units = dropout(model.mlp.layers[0](dropout(images.flatten(1), 0.25)).relu(), 0.5)
    assert found.equal(model.classifier(units))
    model.eval()
    assert model(images).logits.equal(model(images).logits)


def test_the_card_shows_how_torch_alone_loads_it(tmp_path: Path, taught: Outcome) -> None:
    """The snippet of the model card is run as it stands, where transformers cannot be imported."""
    card = (taught.student / "README.md").read_text()
    snippet = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0].replace("path/to/this/folder", str(taught.student))
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 16
    pixels = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    save_file({"pixels": pixels}, tmp_path / "pixels.safetensors")
    command = [sys.executable, "-c", ALONE.format(snippet=snippet)]
    subprocess.run(command, cwd=tmp_path, env=dict(os.environ), check=True)
    model = AutoModelForImageClassification.from_pretrained(taught.student)
    expected = model(pixels.float() / 255).logits
    torch.testing.assert_close(load_file(tmp_path / "logits.safetensors")["logits"], expected.detach())


def test_one_beyond_all_bounds_is_refused_before_it_is_made(tmp_path: Path, digits_file: Path) -> None:
    huge = {**MLP, "hidden": [16_384] * 16}
    with pytest.raises(StudentUnusable, match="parameters"):
        run_job(tmp_path, digits_file, student={"config": huge})
