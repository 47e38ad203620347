"""Writes with vLLM, in whatever Python has it: JSON lines ask, JSON lines answer. It knows nothing of this project.

The first line is what `vllm.LLM` is told, with `memory`, the share of the GPU's free memory that it may take, and
`transformers`, the oldest version that reads the model right. Each line after it asks for one text: {"id", "prompt",
"seed", "sampling"}, a prompt's ids and what `vllm.SamplingParams` is told besides the seed. The answers are {"ready"}
once, then for each text when it is done {"id", "ids", "is_stopped"}, and {"steps"} in between, or {"failed": why}. The
program ends with whoever asks.
"""

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

Said = dict[str, Any]
SECONDS_BETWEEN_SIGNS = 1.0


def main() -> None:
    questions, answers = os.dup(0), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints is for the log
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # and what is asked is not for those whom it starts

    def tell(said: Said) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    asked: queue.Queue[Said] = queue.Queue()
    threading.Thread(target=listen, args=(questions, asked), daemon=True).start()
    try:
        engine = started(asked.get())
        tell({"ready": True})
        write(engine, asked, tell)
    except Exception as error:
        tell({"failed": " ".join(f"{type(error).__name__}: {error}".split())})
        raise


def listen(questions: int, asked: "queue.Queue[Said]") -> None:
    """Hand on what is asked, also while texts are written. Whoever asked is gone when no line can come any more, and
    then all end whom this process has started."""
    unread = b""
    while piece := os.read(questions, 1 << 16):
        *lines, unread = (unread + piece).split(b"\n")
        for line in lines:
            asked.put(json.loads(line))
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def started(told: Said) -> Any:
    """Return vLLM's engine with the model in memory."""
    import torch
    import transformers
    from vllm import LLM  # type: ignore[import-not-found]

    memory, oldest = told.pop("memory"), told.pop("transformers")
    if int(transformers.__version__.split(".")[0]) < oldest:
        raise RuntimeError(f"the model needs transformers {oldest}, and here is {transformers.__version__}")
    if torch.cuda.is_available():
        free, whole = torch.cuda.mem_get_info()
        told.setdefault("gpu_memory_utilization", memory * free / whole)
    return LLM(**told).llm_engine


def write(engine: Any, asked: "queue.Queue[Said]", tell: Callable[[Said], None]) -> None:
    """Write what is asked, as much at a time as there is room for, for ever."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found]

    def add(one: Said) -> None:
        sampling = SamplingParams(seed=one["seed"], output_kind=RequestOutputKind.FINAL_ONLY, **one["sampling"])
        engine.add_request(one["id"], {"prompt_token_ids": one["prompt"]}, sampling)

    steps, told_at = 0, time.monotonic()
    while True:
        if not engine.has_unfinished_requests():
            add(asked.get())
        while not asked.empty():
            add(asked.get())
        for found in engine.step():
            if found.finished:
                (text,) = found.outputs
                # Where a stop text ended it the reason is that text; where a token did, it is its id.
                is_stopped = isinstance(text.stop_reason, str)
                tell({"id": found.request_id, "ids": list(text.token_ids), "is_stopped": is_stopped})
        steps += 1
        if time.monotonic() - told_at > SECONDS_BETWEEN_SIGNS:
            tell({"steps": steps})
            told_at = time.monotonic()


if __name__ == "__main__":
    main()
