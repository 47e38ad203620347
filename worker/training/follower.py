"""`python -m worker.training.follower`: a process that computes gradients for the first process of a job.

Its stdin brings one order in each line, and its end is this process's end. Its stdout tells that it is ready to join
(a line), and, where it fails, why (a pickled error); whatever else is printed goes to the job's log.
"""

import os
import pickle
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import BinaryIO

from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn
from transformers.utils import logging as library_log

from core.wire import Errand
from worker.training.device import be_deterministic, device
from worker.training.ring import PeerLost, Ring, is_parting, joined
from worker.training.sharing import Share, read_share

READY = b"ready\n"
BEREFT = 76
"""Exit code of a process that ended because another one had."""


def main() -> int:
    voice = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    errands: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(errands,), daemon=True).start()
    be_deterministic()
    library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
    library_log.set_verbosity_error()  # type: ignore[no-untyped-call]
    while True:
        errand = Errand.model_validate_json(errands.get())
        try:
            _run(errand, voice)
        except PeerLost:
            return BEREFT
        except Exception as error:  # noqa: BLE001 - whatever it is becomes the first process's; its trace goes to the log
            traceback.print_exc()
            voice.write(_pickled(error))
            return 1


def _listen(errands: "queue.Queue[str]") -> None:
    """Hear errands until there is nobody who could send one."""
    # Past Python's buffer, as in worker/run: its lock would abort the interpreter's end.
    heard = b""
    while said := os.read(sys.stdin.fileno(), 65_536):
        *lines, heard = (heard + said).split(b"\n")
        for line in lines:
            errands.put(line.decode())
    os._exit(1)


def _run(errand: Errand, voice: BinaryIO) -> None:
    voice.write(READY)
    with joined(Path(errand.meeting), errand.rank, errand.size):
        try:
            follow(read_share(Path(errand.share)))
        except RuntimeError as error:
            if is_parting(error):
                raise PeerLost(str(error)) from error
            raise


def follow(share: Share) -> None:
    """Compute gradients with the weights of the first process, until it says that there is no further step."""
    share.pupil.ready(share.precision)
    accelerator = Accelerator(mixed_precision="bf16" if share.precision == "bf16" else "no", cpu=device().type == "cpu")
    pupil: nn.Module = accelerator.prepare_model(share.pupil).train()
    ring = Ring(share)
    while (step := ring.begin()) is not None:
        pupil.zero_grad()
        said: dict[str, float] = {}
        for batch, is_idle in zip(step.batches, step.is_idle, strict=True):
            loss, parts, _ = share.aim.losses(pupil, send_to_device(batch, accelerator.device), step.counts)
            if is_idle:
                accelerator.backward(loss * 0.0)
                continue
            accelerator.backward(loss)
            for name, part in {"loss": loss, **parts}.items():
                said[name] = said.get(name, 0.0) + part.item()
        ring.gather(said)


def _pickled(error: Exception) -> bytes:
    try:
        text = pickle.dumps(error)
        pickle.loads(text)  # noqa: S301 - our own bytes: an error may be written and not be read again
    except Exception:  # noqa: BLE001 - whatever it is that does not pickle, its words do
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return text


if __name__ == "__main__":
    sys.exit(main())
