"""Classify sentences with one or more downloaded models, with transformers alone: nothing of this project is imported.

    python classify.py FOLDER [FOLDER …] < sentences

reads one sentence a line and writes one line of JSON for each folder: the probability of every label, per sentence.
"""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def probabilities(folder: str, sentences: list[str]) -> list[dict[str, float]]:
    """The labels' probabilities for each sentence."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        logits_BC = model(**batch).logits.float()
    names = model.config.id2label
    return [
        {names[place]: probability for place, probability in enumerate(row)} for row in logits_BC.softmax(-1).tolist()
    ]


def main() -> int:
    sentences = [line.strip() for line in sys.stdin if line.strip()]
    for folder in sys.argv[1:]:
        sys.stdout.write(json.dumps(probabilities(folder, sentences)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
