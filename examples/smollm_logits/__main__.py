"""`python -m examples.smollm_logits`: SmolLM2-135M-Instruct teaches a third of its own layers by its logits."""

import sys
from pathlib import Path

from examples.smollm.fetch import editorials
from examples.smollm.run import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, editorials))
