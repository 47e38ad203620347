"""A Python that has something in vLLM's place."""

import shutil
from pathlib import Path

import pytest

from worker.training.generation.vllm.beside import Vllm


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vllm:
    monkeypatch.setenv("PYTHONPATH", str(installed(tmp_path / "packages")))
    return Vllm()


def installed(packages: Path) -> Path:
    """Put it where an interpreter with this folder in its path finds it, with its version."""
    (packages / "vllm").mkdir(parents=True)
    for place, name in {
        "__init__.py": "standing_in.py",
        "sampling_params.py": "standing_in_sampling_params.py",
    }.items():
        shutil.copy(Path(__file__).with_name(name), packages / "vllm" / place)
    (packages / "vllm-0.0.dist-info").mkdir()
    (packages / "vllm-0.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.0\n")
    return packages
