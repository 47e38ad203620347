"""The report of a student that learned from texts, in honest sentences."""

from core.report import WritingGain, WritingQuality, WrittenTexts
from worker.training.language.verdict import Students, difference
from worker.training.verdict import percent


def texts_verdict(
    texts: WrittenTexts, teacher: WritingQuality | None, students: Students, gain: WritingGain | None
) -> str:
    """Say what the teacher's texts brought: over the data set's own where it has any, else over the start."""
    _, after, _ = students
    found = [_brought(students, gain), _kept(texts)]
    if teacher is not None:
        found.append(_size(teacher, after))
    if after.pass_rate is not None:
        found.append(_right(teacher, students))
    return " ".join(found)


def _brought(students: Students, gain: WritingGain | None) -> str:
    before, after, alone = students
    if gain is None or alone is None:
        return (
            f"On texts that the teacher wrote for held-out prompts, the student's loss went from {before.loss:.3f} to "
            f"{after.loss:.3f} nats per token."
        )
    interval = gain.loss_interval
    loss = difference(gain.loss, interval.low, interval.high, "nats of loss")
    on = "per token on texts that the teacher wrote for held-out prompts"
    if interval.high < 0:
        said = f"The teacher's texts brought {loss} {on}, over the data set's own completions."
    elif interval.low > 0:
        said = f"The data set's own completions would have served better: {loss} {on}."
    else:
        said = f"The teacher's texts brought nothing measurable over the data set's own completions: {loss} {on}."
    if after.completions_loss is None or alone.completions_loss is None:
        return said
    return (
        f"{said} On the data set's own held-out completions its loss is {after.completions_loss:.3f}, and "
        f"{alone.completions_loss:.3f} for the student that learned from those."
    )


def _kept(texts: WrittenTexts) -> str:
    return f"Of {texts.samples:,} texts {texts.kept:,} were kept."


def _size(teacher: WritingQuality, after: WritingQuality) -> str:
    smaller = teacher.parameters / after.parameters
    size = f"{smaller:.1f} times smaller than the teacher" if smaller >= 1.05 else "no smaller than the teacher"
    if after.kl_to_teacher is None:
        return f"The student is {size}."
    return f"The student is {size}, and {after.kl_to_teacher:.3f} nats of KL per token from it."


def _right(teacher: WritingQuality | None, students: Students) -> str:
    before, after, alone = students
    others = [
        f"{percent(one.pass_rate)} {which}"
        for one, which in ((before, "before"), (alone, "on the data set's own completions"), (teacher, "the teacher"))
        if one is not None and one.pass_rate is not None
    ]
    assert after.pass_rate is not None
    return f"It answers {percent(after.pass_rate)} of held-out questions rightly ({', '.join(others)})."
