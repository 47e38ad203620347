"""Duplicates: the first stays, and the question belongs to the answer."""

import random

from worker.training.generation.duplicates import NEAR, ExactDuplicates, NearDuplicates, minhash, shingles, similarity

WORDS = [f"word{number}" for number in range(400)]


def text(seed: int, words: int = 120) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def test_white_space_makes_no_difference() -> None:
    seen = ExactDuplicates()
    assert seen.is_first("ask", "one  two\n")
    assert not seen.is_first(" ask", "one two")
    assert seen.is_first("ask", "One two")
    assert seen.is_first("other", "one two"), "the same answer to another question"


def test_a_changed_word_in_a_long_text_is_near_and_another_text_is_not() -> None:
    near = NearDuplicates()
    words = text(1)
    assert near.is_first("ask", " ".join(words))
    assert not near.is_first("ask", " ".join(["other", *words[1:]]).upper())
    assert near.is_first("ask", " ".join(text(2)))
    assert near.is_first("ask", " ".join(words[:60] + text(3)[60:]))


def test_short_answers_and_other_questions_are_not_near() -> None:
    near = NearDuplicates()
    long_question = " ".join(text(4))
    assert all(near.is_first(long_question, answer) for answer in ("yes", "no", "yes it is"))
    assert not near.is_first(long_question, "Yes")
    assert near.is_first("is four even?", "yes")
    assert near.is_first("is six even?", "yes")


def test_what_was_kept_is_kept_again() -> None:
    draw = random.Random(0)
    pool = []
    for seed in range(30):
        words = text(seed, 40)
        for _ in range(4):
            changed = list(words)
            changed[draw.randrange(40)] = "x"
            pool.append(" ".join(changed))
    near, again = NearDuplicates(), NearDuplicates()
    kept = [answer for answer in pool if near.is_first("ask", answer)]
    assert 30 <= len(kept) < 120
    assert all(again.is_first("ask", answer) for answer in kept)


def test_the_estimate_is_near_the_truth() -> None:
    for changed in (0, 5, 20, 60):
        one, other = text(7), [*text(8)[:changed], *text(7)[changed:]]
        sets = shingles(" ".join(one)), shingles(" ".join(other))
        truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        estimate = similarity(minhash(sets[0]).digest(), minhash(sets[1]).digest())
        assert abs(estimate - truth) < 0.12, (changed, truth)
    assert 0 < NEAR < 1
