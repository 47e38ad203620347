"""The report in one honest sentence."""

from core.report import Gain, Quality


def verdict(
    teacher: Quality | None, after: Quality, baseline: Quality | None, gain: Gain | None, content: str = "text"
) -> str:
    """Say what the student kept of the teacher, at what size, and what the teacher brought over labels alone."""
    if teacher is None:
        measured = "" if after.accuracy is None else f", and reaches {percent(after.accuracy)} accuracy{wrong(after)}"
        return f"The student learned from labels alone, without a teacher{measured}."
    smaller = teacher.parameters / after.parameters
    size = f"{smaller:.1f} times smaller" if smaller >= 1.05 else "no smaller"
    if after.accuracy is None or teacher.accuracy is None:
        same = "n/a" if after.agreement is None else percent(after.agreement)
        return f"The student is {size} than the teacher and makes the same choice on {same} of held-out {content}s."
    kept = f"the student is {size} than the teacher and reaches {percent(after.accuracy)} accuracy"
    kept = f"{kept} where the teacher has {percent(teacher.accuracy)}"
    if baseline is not None and None not in (teacher.errors, after.errors, baseline.errors):
        kept = f"{kept} ({after.errors:,} wrong; teacher {teacher.errors:,}, labels alone {baseline.errors:,})"
    if gain is None or baseline is None or baseline.accuracy is None:
        return f"{kept[0].upper()}{kept[1:]}; what labels alone would give was not measured."
    low, high = points(gain.accuracy_interval.low), points(gain.accuracy_interval.high)
    measured = f"{points(gain.accuracy)} points of accuracy (95 % interval {low} to {high})"
    if gain.accuracy_interval.low > 0:
        return f"The teacher brought {measured} over labels alone: {kept}."
    if gain.accuracy_interval.high < 0:
        return f"The teacher did harm, {measured} against labels alone: {kept}."
    return f"The teacher brought nothing measurable over labels alone, {measured}: {kept}."


def wrong(quality: Quality) -> str:
    return "" if quality.errors is None else f" ({quality.errors:,} wrong)"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"
