"""The likeliest tokens that a server told with its texts, as what the student is to match.

Legend: M kept tokens of all texts, K likeliest tokens, C classes: the K, and all others as one.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import TokenizersDiffer
from core.likeliest import Place
from worker.training.desk import Desk
from worker.training.generation.corpus import Corpus, plan_of
from worker.training.generation.keeping import corpus_folder
from worker.training.language.shelf import Likeliest, shelf_of
from worker.training.language.texts.readings import TextReadings

SMALLEST = 1e-12
LEAST_SHARE = 0.9
"""Of the kept tokens that the server's must be: fewer, and it cuts texts in another way."""


def heard_likeliest(desk: Desk, readings: TextReadings, vocabulary: int) -> Likeliest:
    """Return the server's distribution at each token that is learned, K likeliest tokens and the rest as one.

    A place of which the server told too little (often the one that ends a text), or whose token is not the one that
    the student reads there, says what was drawn and no more: all of its mass is on that token, so that its KL is the
    cross-entropy.

    Args:
        vocabulary: how many logits the student gives.

    Raises:
        TokenizersDiffer: the server's tokens are not the student's.
    """
    endpoint, rows, scripts = desk.spec.endpoint, readings.parts.train, readings.student
    assert endpoint is not None
    assert endpoint.logprobs is not None
    every = _places_of(corpus_folder(desk.folder / "writing"), readings)
    most = max((len(likeliest) for places in every.values() for _, likeliest in places), default=1)
    shelf, words = shelf_of(scripts, rows), min(endpoint.logprobs, vocabulary - 1, most)
    ids_MK = np.zeros((shelf.tokens, words), dtype=np.int32)
    log_p_MC = np.zeros((shelf.tokens, words + 1), dtype=np.float32)
    known = 0
    for row in rows.tolist():
        start, targets = int(shelf.starts[row]), scripts.targets(row)
        for offset, place in enumerate(told_of(every.get(row, ()), targets, vocabulary, words)):
            known += place is not None
            drawn_alone = (targets[offset], ((targets[offset], 0.0),))
            ids_MK[start + offset], log_p_MC[start + offset] = classes_of(place or drawn_alone, words)
    if known < LEAST_SHARE * (shelf.tokens - len(rows)):
        agreeing = f"it told of {known:,} of the {shelf.tokens:,} tokens that the student reads in its texts"
        raise TokenizersDiffer(endpoint.model, agreeing)
    desk.observer.event(f"The teacher's {words} likeliest tokens are known for {known:,} of {shelf.tokens:,} tokens.")
    return Likeliest(shelf, vocabulary, ids_MK, log_p_MC)


def _places_of(corpus: Path, readings: TextReadings) -> dict[int, Sequence[Place]]:
    """Return what was told of the texts to learn from, by their rows."""
    wanted = {(int(readings.prompts[row]), int(readings.samples[row])): row for row in readings.parts.train.tolist()}
    every = Corpus(corpus, plan_of(corpus) or "")
    return {wanted[sample.key]: sample.places for sample in every if sample.key in wanted}


def told_of(places: Sequence[Place], targets: NDArray[np.int32], vocabulary: int, words: int) -> list[Place | None]:
    """Return the server's place for each target, as long as its tokens are the student's; None where it has none."""
    found: list[Place | None] = [None] * len(targets)
    for number, place in enumerate(places[: len(found)]):
        drawn, likeliest = place
        if drawn != targets[number] or any(not 0 <= token < vocabulary for token, _ in likeliest):
            break
        if len({token for token, _ in likeliest}) >= words:
            found[number] = place
    return found


def classes_of(place: Place, words: int) -> tuple[list[int], list[float]]:
    """Return K ids and the log-probabilities of them and of the rest. Where one token has all, others fill the K."""
    told = {int(token): float(log_p) for token, log_p in place[1]}
    likeliest = sorted(told.items(), key=lambda one: -one[1])[:words]
    ids, least = [token for token, _ in likeliest], math.log(SMALLEST)
    others = (token for token in range(2 * words) if token not in told)
    missing = [next(others) for _ in range(words - len(ids))]
    rest = max(SMALLEST, 1.0 - sum(math.exp(log_p) for _, log_p in likeliest))
    return [*ids, *missing], [*(log_p for _, log_p in likeliest), *([least] * len(missing)), math.log(rest)]
