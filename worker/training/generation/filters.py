"""Which samples the student learns from, and the first reason against each of the others."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from core.errors import FiltersUnusable
from core.methods import FiltersSpec, SequenceMethod, finder
from worker.training.generation.duplicates import ExactDuplicates, NearDuplicates
from worker.training.generation.language import language_of
from worker.training.generation.mathematics import Mathematician
from worker.training.generation.reasoning import without_reasoning
from worker.training.generation.samples import Prompt, Sample
from worker.training.generation.verifiers import Exact, Json, Verifier, verifier_of

REASONS: Mapping[str, str] = {
    "over_budget": "not asked for, since the budget is used up",
    "unanswered": "that the teacher's server never answered",
    "refused": "that the teacher's server refused",
    "withheld": "that the teacher's server withheld",
    "prompt_too_long": "whose prompt leaves no room for max_new_tokens",
    "unfinished": "cut off by max_new_tokens",
    "empty": "empty",
    "too_short": "shorter than min_tokens",
    "too_long": "longer than max_tokens",
    "pattern_not_found": "without the pattern",
    "other_language": "in another language",
    "reasoning_never_ends": "whose reasoning never ends",
    "no_right_answer": "without a right answer in the data set",
    "wrong_answer": "with a wrong answer",
    "no_agreement": "whose answer too few samples agree on",
    "duplicate": "that repeat another",
    "near_duplicate": "that nearly repeat another",
}
"""Each reason and how it is said of samples, in the order in which they are looked for."""


@dataclass(frozen=True)
class Verdict:
    """What became of a sample. `text` is what the student would learn; `reason` is None where it is kept."""

    sample: Sample
    text: str
    reason: str | None

    @property
    def kept(self) -> bool:
        return self.reason is None


def check_filters(filters: FiltersSpec) -> None:
    """Raise FiltersUnusable, before anything is written, where the filters could never be asked."""
    if filters.verifier is not None and filters.verifier.json_schema is not None:
        try:
            Json(filters.verifier.json_schema)
        except ValueError as error:
            raise FiltersUnusable("verifier.json_schema", str(error).splitlines()[0]) from error


Check = tuple[str, Callable[[Verdict, Prompt], bool]]
"""A reason, and what tells that there is nothing of the kind against a sample."""


def judged(
    samples: Iterable[Sample], prompts: Mapping[int, Prompt], method: SequenceMethod, mathematician: Mathematician
) -> Iterator[Verdict]:
    """Yield a verdict on each sample. `samples` come by prompt and sample number, as a corpus yields them."""
    verifier = verifier_of(method.filters.verifier, mathematician) if method.filters.verifier else None
    text_checks, answer_checks = text_checks_of(method.filters), answer_checks_of(method.filters, verifier)
    duplicates = duplicates_of(method)
    for index, group in groupby(samples, key=lambda sample: sample.prompt):
        prompt = prompts[index]
        verdicts = [_checked(Verdict(sample, sample.text, sample.fault), prompt, text_checks) for sample in group]
        if not method.keep_reasoning:
            verdicts = [_stripped(verdict) for verdict in verdicts]
        verdicts = [_checked(verdict, prompt, answer_checks) for verdict in verdicts]
        if method.filters.agreement is not None:
            verdicts = agreed(verdicts, method.filters.agreement.k, verifier or Exact())
        for verdict in verdicts:
            yield _deduplicated(verdict, prompt, duplicates)


def text_checks_of(filters: FiltersSpec) -> list[Check]:
    """Return the checks of a text as it was written, thoughts and all, in their order."""
    checks: list[Check] = []
    if filters.finished_only:
        checks.append(("unfinished", lambda verdict, _: verdict.sample.finished))
    checks.append(("empty", lambda verdict, _: bool(verdict.text.strip())))
    checks.append(("too_short", lambda verdict, _: verdict.sample.completion_tokens >= filters.min_tokens))
    if (most := filters.max_tokens) is not None:
        checks.append(("too_long", lambda verdict, _: verdict.sample.completion_tokens <= most))
    if filters.pattern is not None:
        found = finder(filters.pattern)
        checks.append(("pattern_not_found", lambda verdict, _: found(verdict.text)))
    if (wanted := filters.language) is not None:
        checks.append(("other_language", lambda verdict, _: language_of(verdict.text) == wanted))
    return checks


def answer_checks_of(filters: FiltersSpec, verifier: Verifier | None) -> list[Check]:
    if filters.verifier is None or verifier is None:
        return []
    checks: list[Check] = []
    if filters.verifier.type != "json_schema":
        checks.append(("no_right_answer", lambda _, prompt: bool(prompt.answer and prompt.answer.strip())))
    checks.append(("wrong_answer", lambda verdict, prompt: verifier.is_right(verdict.text, prompt.answer)))
    return checks


def _checked(verdict: Verdict, prompt: Prompt, checks: Sequence[Check]) -> Verdict:
    for reason, is_passed in checks:
        if verdict.kept and not is_passed(verdict, prompt):
            verdict = replace(verdict, reason=reason)
    return verdict


def _stripped(verdict: Verdict) -> Verdict:
    if not verdict.kept:
        return verdict
    answer = without_reasoning(verdict.text)
    if answer is None:
        return replace(verdict, reason="reasoning_never_ends")
    return replace(verdict, text=answer, reason=None if answer.strip() else "empty")


def agreed(verdicts: Sequence[Verdict], k: int, verifier: Verifier) -> list[Verdict]:
    """Drop the samples of one prompt whose answer fewer than `k` of those that passed so far gave."""
    groups: list[tuple[str, list[int]]] = []
    for place, verdict in enumerate(verdicts):
        answer = verifier.answer(verdict.text) if verdict.kept else None
        if answer is None:
            continue
        group = next((members for known, members in groups if verifier.same(known, answer)), None)
        if group is None:
            groups.append((answer, group := []))
        group.append(place)
    agreeing = {place for _, members in groups if len(members) >= k for place in members}
    return [
        replace(verdict, reason="no_agreement") if verdict.kept and place not in agreeing else verdict
        for place, verdict in enumerate(verdicts)
    ]


def duplicates_of(method: SequenceMethod) -> tuple[tuple[str, ExactDuplicates | NearDuplicates], ...]:
    exact = (("duplicate", ExactDuplicates()),)
    if method.filters.deduplicate is None:
        return ()
    return exact if method.filters.deduplicate == "exact" else (*exact, ("near_duplicate", NearDuplicates()))


def _deduplicated(
    verdict: Verdict, prompt: Prompt, duplicates: Iterable[tuple[str, ExactDuplicates | NearDuplicates]]
) -> Verdict:
    for reason, seen in duplicates:
        if verdict.kept and not seen.is_first(asked_by(prompt), verdict.text):
            verdict = replace(verdict, reason=reason)
    return verdict


def asked_by(prompt: Prompt) -> str:
    """Return what a prompt asks, as one text."""
    if prompt.text is not None:
        return prompt.text
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt.messages or ())


def in_words(counts: Mapping[str, int]) -> str:
    """Say how many samples were dropped for which reason, the most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {REASONS.get(reason, reason)}" for reason, count in ranked)
