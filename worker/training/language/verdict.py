"""The report of a language model in one honest sentence."""

from core.report import WritingGain, WritingQuality
from worker.training.verdict import percent


def writing_verdict(
    teacher: WritingQuality, after: WritingQuality, baseline: WritingQuality | None, gain: WritingGain | None
) -> str:
    """Say how near the student came to its teacher, at what size, and what the teacher brought over the texts alone."""
    smaller = teacher.parameters / after.parameters
    size = f"{smaller:.1f} times smaller than the teacher" if smaller >= 1.05 else "no smaller than the teacher"
    close = (
        f"the student is {size}, {after.kl_to_teacher:.3f} nats per token from it, and has a perplexity of "
        f"{after.perplexity:.1f} where the teacher has {teacher.perplexity:.1f}"
    )
    if gain is None or baseline is None:
        alone = "what the texts alone would give was not measured"
        assert after.agreement is not None, "where logits are learned, agreement is measured"
        return (
            f"{close[0].upper()}{close[1:]}, choosing the same token in {percent(after.agreement)} of places; {alone}."
        )
    return f"{_brought(gain)}: {close}."


def _brought(gain: WritingGain) -> str:
    """Say what both intervals allow: where one lies beyond zero, and on which side of it."""
    assert gain.kl_to_teacher is not None, "where logits are learned, KL is measured"
    assert gain.kl_interval is not None
    kl = difference(gain.kl_to_teacher, gain.kl_interval.low, gain.kl_interval.high, "nats of KL to it")
    loss = difference(gain.loss, gain.loss_interval.low, gain.loss_interval.high, "nats of loss")
    harm = "The teacher did harm against the texts alone"
    is_nearer, is_better = gain.kl_interval.high < 0, gain.loss_interval.high < 0
    is_farther, is_worse = gain.kl_interval.low > 0, gain.loss_interval.low > 0
    if is_nearer and is_better:
        said = f"The teacher brought {kl} and {loss} per token over the texts alone"
    elif is_nearer and is_worse:
        said = f"The student is nearer to its teacher than the texts alone would bring it, {kl}, at a cost of {loss}"
    elif is_nearer:
        said = f"The teacher brought {kl} per token over the texts alone, and nothing measurable in loss, {loss}"
    elif is_better and is_farther:
        said = f"The teacher brought {loss} per token over the texts alone, at a cost of {kl}"
    elif is_better:
        said = f"The teacher brought {loss} per token over the texts alone, and nothing measurable in closeness, {kl}"
    elif is_worse and is_farther:
        said = f"{harm}, {loss} and {kl} per token"
    elif is_worse:
        said = f"{harm}, {loss} per token, and nothing measurable in closeness, {kl}"
    elif is_farther:
        said = f"{harm}, {kl} per token, and nothing measurable in loss, {loss}"
    else:
        said = f"The teacher brought nothing measurable over the texts alone, {kl} and {loss} per token"
    return said


Students = tuple[WritingQuality, WritingQuality, WritingQuality | None]
"""Before, after, and on the data set's own completions."""


def paired_verdict(teacher: WritingQuality, students: Students, gain: WritingGain | None) -> str:
    """Say what a teacher with other tokens brought: its own loss is per token of its own, and says nothing here."""
    before, after, alone = students
    smaller = teacher.parameters / after.parameters
    size = f"{smaller:.1f} times smaller than the teacher" if smaller >= 1.05 else "no smaller than the teacher"
    close = (
        f"the student is {size}, and its perplexity went from {before.perplexity:.1f} to {after.perplexity:.1f}; its "
        "tokens are not the teacher's, so that there is no KL to it"
    )
    if gain is None or alone is None:
        return f"{close[0].upper()}{close[1:]}; what the texts alone would give was not measured."
    low, high = gain.loss_interval.low, gain.loss_interval.high
    loss = difference(gain.loss, low, high, "nats of loss")
    if high < 0:
        return f"The teacher brought {loss} per token over the texts alone: {close}."
    if low > 0:
        return f"The teacher did harm, {loss} per token against the texts alone: {close}."
    return f"The teacher brought nothing measurable over the texts alone, {loss} per token: {close}."


def difference(value: float, low: float, high: float, unit: str) -> str:
    return f"{value:+.3f} {unit} (95 % interval {low:+.3f} to {high:+.3f})"
