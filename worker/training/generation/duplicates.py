"""Samples that say what another one said. The first by index stays.

A prompt belongs to what is compared: the same answer to another question is no duplicate.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

PERMUTATIONS = 128
WORDS_IN_A_SHINGLE = 5
NEAR = 0.8
"""Estimated Jaccard similarity of shingles, of prompts and of texts, from which both count as the same."""
MOST_CANDIDATES = 1000

Signature = NDArray[np.unsignedinteger]


def normalised(text: str) -> str:
    return " ".join(text.split())


@dataclass
class ExactDuplicates:
    """Equal but for white space."""

    seen: set[bytes] = field(default_factory=set)

    def is_first(self, prompt: str, text: str) -> bool:
        """Tell whether no such pair was seen before, and remember it."""
        digest = hashlib.sha256(f"{normalised(prompt)}\0{normalised(text)}".encode("utf-8", "replace")).digest()[:16]
        is_first = digest not in self.seen
        self.seen.add(digest)
        return is_first


@dataclass
class NearDuplicates:
    """MinHash over shingles of five words, case ignored (Broder 1997, "On the resemblance and containment of
    documents"): near where prompts and texts both are. What is shorter than a shingle is near only to its equal."""

    index: MinHashLSH = field(default_factory=lambda: MinHashLSH(threshold=NEAR, num_perm=PERMUTATIONS))
    kept: list[tuple[Signature, Signature]] = field(default_factory=list)

    def is_first(self, prompt: str, text: str) -> bool:
        """Tell whether nothing near was kept before; only then it is remembered."""
        parts = shingles(prompt), shingles(text)
        # Where both parts are near, so is their union: one index finds every candidate.
        both = minhash({f"prompt {shingle}" for shingle in parts[0]} | {f"text {shingle}" for shingle in parts[1]})
        signatures = (minhash(parts[0]).digest(), minhash(parts[1]).digest())
        for number in sorted(self.index.query(both))[:MOST_CANDIDATES]:
            earlier = self.kept[number]
            if all(similarity(one, other) >= NEAR for one, other in zip(earlier, signatures, strict=True)):
                return False
        self.index.insert(len(self.kept), both)
        self.kept.append(signatures)
        return True


def shingles(text: str) -> set[str]:
    words = text.casefold().split()
    last = max(1, len(words) - WORDS_IN_A_SHINGLE + 1)
    return {" ".join(words[start : start + WORDS_IN_A_SHINGLE]) for start in range(last)}


def minhash(items: set[str]) -> MinHash:
    signature = MinHash(num_perm=PERMUTATIONS, seed=1)
    signature.update_batch([item.encode("utf-8", "replace") for item in items])
    return signature


def similarity(one: Signature, other: Signature) -> float:
    """Return the estimate of the Jaccard similarity of the sets behind two signatures."""
    return float((one == other).mean())
