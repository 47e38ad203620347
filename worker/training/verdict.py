"""The report in one honest sentence."""

from core.report import Gain, Quality


def verdict(teacher: Quality, after: Quality, baseline: Quality | None, gain: Gain | None) -> str:
    """Say what the student kept of the teacher, at what size, and whether the teacher brought anything over labels alone."""
    smaller = teacher.parameters / after.parameters
    size = f"{smaller:.1f} times smaller" if smaller >= 1.05 else "no smaller"
    if after.accuracy is None or teacher.accuracy is None:
        return f"The student is {size} than the teacher and makes the same choice on {percent(after.agreement)} of held-out texts."
    kept = f"the student is {size} than the teacher and reaches {percent(after.accuracy)} accuracy where it has {percent(teacher.accuracy)}"
    if gain is None or baseline is None or baseline.accuracy is None:
        return f"{kept[0].upper()}{kept[1:]}; what labels alone would give was not measured."
    interval = f"95 % interval {points(gain.accuracy_interval.low)} to {points(gain.accuracy_interval.high)} points"
    if gain.accuracy_interval.low > 0:
        return f"The teacher brought {points(gain.accuracy)} points of accuracy over labels alone ({interval}): {kept}."
    if gain.accuracy_interval.high < 0:
        return f"The teacher did harm: {points(gain.accuracy)} points of accuracy against labels alone ({interval}); {kept}."
    return f"The teacher brought nothing measurable over labels alone: {points(gain.accuracy)} points of accuracy ({interval}); {kept}."


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"
