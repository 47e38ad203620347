"""`python -m examples.smollm_on_policy`: a third of SmolLM2-135M-Instruct's layers learn from its logits first, then on
their own texts, of which the teacher scores every token."""

import sys
from pathlib import Path

from examples.smollm.fetch import editorials
from examples.smollm.run import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, editorials, first="start.json"))
