"""Texts to the probabilities of a classifier's classes.

Legend: B texts, C classes.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.serving import Classified, ClassifyAsk
from serving.loading import Classifier
from serving.writing import Tell

TEXTS_AT_ONCE = 16


def classify(classifier: Classifier, ask: ClassifyAsk, tell: Tell, step: Callable[[], None]) -> float:
    """Answer in one line; return the seconds that it took. Texts longer than the model reads are cut, and marked."""
    encoded, is_cut = zip(*(_encoded(classifier, text, pair) for text, pair in ask.texts), strict=True)
    order = np.argsort([-len(one["input_ids"]) for one in encoded], kind="stable")
    probabilities: list[tuple[float, ...]] = [()] * len(encoded)
    began = time.perf_counter()
    for start in range(0, len(order), TEXTS_AT_ONCE):
        places = order[start : start + TEXTS_AT_ONCE]
        found_BC = _probabilities(classifier, [encoded[place] for place in places])
        for place, found_C in zip(places, found_BC.tolist(), strict=True):
            probabilities[place] = tuple(found_C)
        step()
    seconds = time.perf_counter() - began
    tell(Classified(probabilities=tuple(probabilities), labels=classifier.classes, is_cut=tuple(is_cut)))
    return seconds


def _encoded(classifier: Classifier, text: str, pair: str | None) -> tuple[dict[str, Any], bool]:
    """Return what the model reads of a text, and whether that is less than all of it."""
    limit = classifier.longest
    found = classifier.tokenizer(text, pair, verbose=False)
    is_cut = limit is not None and len(found["input_ids"]) > limit
    if is_cut:
        found = classifier.tokenizer(text, pair, truncation=True, max_length=limit)
    return {name: found[name] for name in found}, is_cut


@torch.inference_mode()
def _probabilities(classifier: Classifier, texts: Sequence[dict[str, Any]]) -> Tensor:
    """Return float32 [B, C] that add up to 1; where classes do not exclude each other, each stands for itself."""
    model: Any = classifier.model
    batch = classifier.tokenizer.pad(list(texts), return_tensors="pt").to(classifier.model.device)
    logits_BC: Tensor = model(**batch).logits.float()
    several = classifier.model.config.problem_type == "multi_label_classification"
    return (logits_BC.sigmoid() if several else logits_BC.softmax(dim=-1)).cpu()
