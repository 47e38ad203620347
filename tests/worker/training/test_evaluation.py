import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.nn.functional import kl_div

from core.report import Gain, Interval, Quality
from worker.training.evaluation import HeldOut, bootstrap_interval, class_results, gain_of, quality
from worker.training.speed import Speed, together
from worker.training.verdict import verdict

SPEED = Speed(2.0, 500.0)


def held_out(teacher: np.ndarray, codes: list[int]) -> HeldOut:
    return HeldOut(np.arange(len(codes)), np.array(codes), teacher, ["a", "b", "c"])


@given(st.integers(0, 1000), st.integers(2, 40))
@settings(max_examples=30)
def test_the_numbers_are_those_of_torch(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    teacher, logits = (draw.normal(size=(count, 3)).astype(np.float32) for _ in range(2))
    codes = draw.integers(0, 3, count)
    found = quality(logits, held_out(teacher, codes.tolist()), 10, 40, SPEED)
    own, theirs, labels = torch.from_numpy(logits), torch.from_numpy(teacher), torch.from_numpy(codes)
    kl = kl_div(own.log_softmax(1), theirs.log_softmax(1), log_target=True, reduction="batchmean")
    assert found.ce_loss == pytest.approx(torch_cross_entropy(own, labels).item(), rel=1e-5)
    assert found.kl_to_teacher == pytest.approx(kl.item(), rel=1e-4, abs=1e-6)
    assert found.accuracy == pytest.approx((own.argmax(1) == labels).float().mean().item())


def test_the_teacher_agrees_with_itself() -> None:
    teacher = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    found = quality(teacher, held_out(teacher, [0] * 9), 10, 40, SPEED)
    assert (found.agreement, found.kl_to_teacher) == (1.0, 0.0)


def test_unlabelled_examples_count_for_agreement_alone() -> None:
    teacher = np.eye(3, dtype=np.float32)
    found = quality(np.eye(3, dtype=np.float32)[[0, 1, 1]], held_out(teacher, [0, -1, -1]), 10, 40, SPEED)
    assert (found.accuracy, found.agreement) == (1.0, pytest.approx(2 / 3))
    nothing = quality(teacher, held_out(teacher, [-1, -1, -1]), 10, 40, SPEED)
    assert (nothing.accuracy, nothing.macro_f1, nothing.ce_loss) == (None, None, None)
    assert class_results({"teacher": teacher}, held_out(teacher, [-1, -1, -1])) == []


def test_the_interval_holds_the_gain_and_shrinks_with_more_examples() -> None:
    few = bootstrap_interval(np.array([1.0, 0, 0, 0, -1, 1, 0, 1] * 5), 0)
    many = bootstrap_interval(np.array([1.0, 0, 0, 0, -1, 1, 0, 1] * 500), 0)
    assert few.low < 0.25 < few.high
    assert many.high - many.low < (few.high - few.low) / 5
    # the normal approximation: sd of the differences is 0.661
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.661 / math.sqrt(4000), rel=0.1)
    assert bootstrap_interval(np.array([1.0, 0.0] * 9), 3) == bootstrap_interval(np.array([1.0, 0.0] * 9), 3)


def test_equal_students_gain_nothing_for_certain() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    held = held_out(logits, [0, 1] * 25)
    same = quality(logits, held, 10, 40, SPEED)
    gain = gain_of(logits, logits, held, (same, same), 0)
    assert gain is not None
    assert (gain.accuracy, gain.accuracy_interval.low, gain.accuracy_interval.high) == (0, 0, 0)


def test_f1_by_class_knows_support_and_absent_classes() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    results = class_results({"student_after": logits}, held_out(logits, [0, 0, 0, 1]))
    assert [(one.label, one.support) for one in results] == [("a", 3), ("b", 1), ("c", 0)]
    assert [one.f1["student_after"] for one in results] == pytest.approx([0.8, 2 / 3, 0.0])


def test_an_ensemble_is_as_slow_as_its_members_one_after_the_other() -> None:
    assert together([Speed(2.0, 100.0), Speed(3.0, 100.0)]) == Speed(5.0, 50.0)


def a_quality(accuracy: float | None, parameters: int = 100) -> Quality:
    return Quality(
        accuracy=accuracy,
        macro_f1=accuracy,
        ce_loss=accuracy,
        agreement=0.9,
        kl_to_teacher=0.1,
        parameters=parameters,
        bytes=4 * parameters,
        latency_ms=1.0,
        examples_per_second=10.0,
    )


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.09, "The teacher brought +5.0 points of accuracy (95 % interval +1.0 to +9.0) over labels alone"),
        (-0.01, 0.09, "The teacher brought nothing measurable over labels alone"),
        (-0.09, -0.01, "The teacher did harm"),
    ],
)
def test_the_verdict_is_honest_about_gain_and_harm(low: float, high: float, words: str) -> None:
    gain = Gain(
        accuracy=0.05,
        accuracy_interval=Interval(low=low, high=high),
        macro_f1=0.0,
        agreement=0.0,
        kl_to_teacher=0.0,
    )
    said = verdict(a_quality(0.9, 500), a_quality(0.85), a_quality(0.8), gain)
    assert said.startswith(words)
    assert "5.0 times smaller" in said


def test_the_verdict_says_what_was_not_measured() -> None:
    assert "was not measured" in verdict(a_quality(0.9, 500), a_quality(0.85), None, None)
    assert "same choice on 90.0 %" in verdict(a_quality(None, 500), a_quality(None), None, None)
