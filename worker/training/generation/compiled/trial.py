"""A first try of a converted model, in a process of its own: a fault in native code ends that one, and no job.

python -m worker.training.generation.compiled.trial MODEL.xml QUESTION.npz ANSWER.npz PRECISION THREADS WEIGHTS
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.training.generation.compiled.runtime import Precision, Runner, Setup, Weights

LOOK_SECONDS = 0.2


class TrialFailed(Exception):
    """How the process ended, in words."""


def tried(
    file: Path,
    ids_BT: NDArray[np.int64],
    mask_BT: NDArray[np.bool_],
    steps: int,
    setup: Setup,
    beat: Callable[[], None],
) -> NDArray[np.float32]:
    """Let a process read texts, the last `steps` tokens one by one; return the logits [steps + 1, B, V] that it told.

    `beat` is called while it works, and may raise to stop.

    Raises:
        TrialFailed: it ended otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "question.npz", Path(folder) / "answer.npy"
        np.savez(question, ids=ids_BT, mask=mask_BT, steps=steps)
        words = [setup.precision, str(setup.threads), setup.weights]
        command = [sys.executable, "-m", __name__, str(file), str(question), str(answer), *words]
        with (Path(folder) / "said").open("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as child:
            try:
                code = _ended(child, beat)
            finally:
                child.kill()
            if code == 0:
                found: NDArray[np.float32] = np.load(answer)
                return found
            said.seek(0)
            last = (said.read().strip().splitlines() or [""])[-1]
    raise TrialFailed(f"ended by signal {-code}" if code < 0 else last)


def _ended(child: subprocess.Popen[bytes], beat: Callable[[], None]) -> int:
    while True:
        try:
            return child.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            beat()


def main(file: str, question: str, answer: str, precision: Precision, threads: str, weights: Weights) -> None:
    asked = np.load(question)
    ids_BT, mask_BT, steps = asked["ids"], asked["mask"], int(asked["steps"])
    runner = Runner(Path(file), Setup(precision, int(threads), weights))
    runner.begin()
    first = ids_BT.shape[1] - steps
    told = [runner.step(ids_BT[:, :first], mask_BT[:, :first])]
    told += [runner.step(ids_BT[:, end - 1 : end], mask_BT[:, :end]) for end in range(first + 1, first + steps + 1)]
    np.save(answer, np.stack(told))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type] # precision and weights are words
