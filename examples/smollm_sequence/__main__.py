"""`python -m examples.smollm_sequence`: SmolLM2-135M-Instruct writes answers, and a third of its layers learn them."""

import sys
from pathlib import Path

from examples.smollm.fetch import dialogues
from examples.smollm.run import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, dialogues))
