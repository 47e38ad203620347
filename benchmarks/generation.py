"""How fast a teacher writes: the service's writer on each of its engines, beside transformers' `generate`.

    python -m benchmarks.generation [--repeats 3] [--tokens 96]

SmolLM2-135M-Instruct goes on from 16 sentences of newspaper editorials, in one batch, at temperature 0.7 and top_p
0.95, for so many tokens each; no text ends earlier. Each run is a process of its own, one for each way in turn; the
medians are compared and the section in RESULTS.md is rewritten. Loading, conversion and a first batch of a few tokens
are not counted.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from benchmarks.results import publish, stamp
from core.methods import GenerationSpec
from examples.smollm.fetch import editorials, teacher
from worker.training.generation.compiled.choosing import WORTH_TOKENS, Wanted, openvino_for
from worker.training.generation.engine import TransformersEngine
from worker.training.generation.writer import ModelWriter, left_padded
from worker.training.language.twin import Twin

ENGINES = "engines"
HEADING = "## Speed of a teacher that writes (generation.py)"
BATCH, WARM_UP_TOKENS = 16, 4
SAMPLING: dict[str, Any] = {"temperature": 0.7, "top_p": 0.95}
BASELINE = "transformers' generate, bf16"

Write = Callable[[int], None]
"""Writes so many tokens after each prompt."""


@dataclass(frozen=True)
class Run:
    tokens_per_second: float
    tokens_per_cpu_second: float


def plain(folder: Path, prompts: Sequence[list[int]], dtype: torch.dtype) -> Write:
    """`generate` as its documentation shows it."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.generation_config = GenerationConfig()
    ids_BT, mask_BT = left_padded(prompts, 0)

    def write(tokens: int) -> None:
        config = GenerationConfig(
            do_sample=True, top_k=0, max_new_tokens=tokens, eos_token_id=None, pad_token_id=0, **SAMPLING
        )
        with torch.inference_mode():
            whole_BT = model.generate(ids_BT, attention_mask=mask_BT.long(), generation_config=config)
        assert whole_BT.shape[1] == ids_BT.shape[1] + tokens

    return write


def ours(folder: Path, prompts: Sequence[list[int]], engine: str, precision: Any, kept: Path) -> Write:
    """The service's own writer."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wanted = Wanted(engine, precision, WORTH_TOKENS, kept, print, lambda: None)  # type: ignore[arg-type]
    computes = openvino_for(model, wanted) or TransformersEngine(Twin(precision).of(model))

    def write(tokens: int) -> None:
        spec = GenerationSpec(max_new_tokens=tokens, **SAMPLING)
        writer = ModelWriter(model, tokenizer, spec, 0, computes)
        writer.end_ids = ()
        written = writer.complete(prompts, [(place, 0) for place in range(len(prompts))], lambda: None)
        assert all(one.tokens == tokens for one in written)

    return write


WAYS: dict[str, Callable[[Path, Sequence[list[int]], Path], Write]] = {
    "transformers' generate, fp32": lambda folder, prompts, _: plain(folder, prompts, torch.float32),
    BASELINE: lambda folder, prompts, _: plain(folder, prompts, torch.bfloat16),
    "this service, engine transformers, bf16": lambda *a: ours(a[0], a[1], "transformers", "bf16", a[2]),
    "this service, engine openvino, fp32": lambda *a: ours(a[0], a[1], "openvino", "fp32", a[2]),
    "this service, engine openvino, bf16": lambda *a: ours(a[0], a[1], "openvino", "bf16", a[2]),
    "this service, engine openvino_int8, fp32": lambda *a: ours(a[0], a[1], "openvino_int8", "fp32", a[2]),
    "this service, engine openvino_int8, bf16": lambda *a: ours(a[0], a[1], "openvino_int8", "bf16", a[2]),
}


def one_run(way: str, assets: Path, tokens: int) -> dict[str, float]:
    """Measure in this process."""
    folder = teacher(assets)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = editorials(assets).read_text(encoding="utf-8").splitlines()[:BATCH]
    prompts = [list(tokenizer(json.loads(line)["prompt"])["input_ids"]) for line in lines]
    began = time.perf_counter()
    write = WAYS[way](folder, prompts, assets / ENGINES)
    ready = time.perf_counter() - began
    write(WARM_UP_TOKENS)
    wall, cpu = time.perf_counter(), time.process_time()
    write(tokens)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": BATCH * tokens / wall, "cpu": BATCH * tokens / cpu, "ready": ready}


def measured(assets: Path, tokens: int, repeats: int) -> tuple[dict[str, list[Run]], float]:
    """Every way, `repeats` times, one after the other; and how long the first conversion took, with its first try."""
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    first: list[float] = []
    for repeat in range(repeats):
        for way, done in runs.items():
            command = [sys.executable, "-m", "benchmarks.generation", "--one", way, "--folder", str(assets)]
            said = subprocess.run(
                [*command, "--tokens", str(tokens)],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"},
            )
            found = json.loads(said.stdout.splitlines()[-1])
            done.append(Run(found["wall"], found["cpu"]))
            first += [found["ready"]] if "openvino" in way else []
            print(f"repeat {repeat + 1}: {way}: {done[-1]}", flush=True)
    return runs, first[0]


def section(runs: dict[str, list[Run]], tokens: int, ready: float) -> str:
    baseline = median(run.tokens_per_cpu_second for run in runs[BASELINE])
    lines = [
        HEADING,
        "",
        f"{stamp()}, openvino {version('openvino')}; SmolLM2-135M-Instruct, {BATCH} prompts in one batch,",
        f"{tokens} tokens each, temperature {SAMPLING['temperature']}, top_p {SAMPLING['top_p']}; medians of",
        f"{len(runs[BASELINE])} interleaved runs.",
        "",
        "| what | tokens per CPU second | tokens per second | x generate in bf16, in CPU seconds |",
        "|---|---|---|---|",
    ]
    for way, some in runs.items():
        cpu, wall = (median(getattr(run, f"tokens_per_{unit}") for run in some) for unit in ("cpu_second", "second"))
        lines.append(f"| {way} | {cpu:.0f} | {wall:.0f} | {cpu / baseline:.2f} |")
    lines += ["", f"Loading, converting and trying the model took {ready:.1f} s the first time; it is kept."]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how fast a teacher writes.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--folder", type=Path, default=Path(".demo/smollm"), help="for the assets")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.one is not None:
        print(json.dumps(one_run(chosen.one, chosen.folder, chosen.tokens)))
        return 0
    teacher(chosen.folder)
    editorials(chosen.folder)
    shutil.rmtree(chosen.folder / ENGINES, ignore_errors=True)  # the first conversion is measured too
    runs, ready = measured(chosen.folder, chosen.tokens, chosen.repeats)
    publish(HEADING, section(runs, chosen.tokens, ready))
    return 0


if __name__ == "__main__":
    sys.exit(main())
