"""What can be wrong with a job, and where: faults that every task can have."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.spec import DatasetSpec
from service.problems import Fault, pointer_of

Part = str | int

CHECK_HINTS = {
    "hub_off": "Upload it, or ask the operator for DISTILL_HUB=true.",
    "hub_only": "Leave it out: it belongs to data sets of a hub.",
    "missing_column": "Name a column of the data set in dataset.columns; GET /v1/datasets/{id} lists them.",
    "not_text": "Name the column that holds the text in dataset.columns.text.",
    "not_images": "Name the column that holds the images in dataset.columns.image; a zip or Parquet has one.",
    "not_an_image_model": "Name an image classifier, uploaded with its preprocessor_config.json.",
    "not_a_text_model": "Name a model that reads texts, or a data set with images.",
    "sizes_differ": 'Scale the images to one size, or take a student that does, such as {"model_type": "vit"}.',
    "student_too_large": "Name fewer units in student.config.hidden, or scale the images down.",
    "not_chats": 'Write each chat as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}].',
    "all_cut": "Raise training.max_length, or shorten the prompts.",
    "no_completions": 'Fill the column, or let the teacher write: "method": {"type": "sequence"}.',
    "no_answers": "Fill the column, or name another in method.filters.verifier.column.",
    "no_such_teacher": "Let every cell of the column name one of the job's teachers.",
    "no_prompts": "Name a column of prompts or of chats in dataset.columns, or use method.type logits.",
    "not_a_language_model": "Name a causal language model, whose architecture ends in ForCausalLM.",
    "too_many_labels": "Name the column that holds the class in dataset.columns.label.",
    "not_a_label": "Give each example one label; several at once, or a number to be guessed, are not learned here.",
    "one_class": "A classifier needs two classes or more.",
    "no_labels": "Set alpha to 1 (and leave finetune out) to learn from the teacher alone.",
    "nothing_held_out": "Give dataset.test or dataset.validation a share.",
    "too_few_examples": "Upload more such examples, or lower dataset.validation and dataset.test.",
    "unknown_part": "The split column may say train, validation or test.",
    "budget_too_small": "Raise the budget, or lower method.generation.max_new_tokens.",
    "no_such_layer": "Name layers that the teacher has.",
}
PARTS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test"})


def fault(parts: Sequence[Part], code: str, detail: str, hint: str | None = None) -> Fault:
    return Fault(pointer=pointer_of(parts), detail=detail, code=code, hint=hint or CHECK_HINTS[code])


def short(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def missing_column(role: str, name: str, present: Sequence[str]) -> Fault:
    detail = f"the data set has no column '{name}'; it has {', '.join(present[:20])}"
    hint = f'Write dataset.columns.{role}, such as {{"{role}": "{present[0]}"}}.'
    return fault(["dataset", "columns", role], "missing_column", detail, hint)


def split_faults(split: str | None, present: Mapping[str, Any]) -> Iterator[Fault]:
    """Find a split column that is not there, or that says what is no part."""
    if split is None:
        return
    if split not in present:
        yield missing_column("split", split, list(present))
        return
    unknown = [name for name in present[split]["values"] or [] if name.strip().casefold() not in PARTS]
    if unknown:
        detail = f"the split column says {short(unknown)}"
        yield fault(["dataset", "columns", "split"], "unknown_part", detail)


def share_faults(wanted: DatasetSpec, pool: int, kind: str) -> Iterator[Fault]:
    """Both shares are drawn from `pool` examples, at least one each; a split column draws nothing."""
    if wanted.columns.split is not None:
        return
    shares = [share for share in (wanted.test, wanted.validation) if share > 0]
    if not shares:
        yield fault(["dataset", "test"], "nothing_held_out", "nothing is held out, so nothing can be measured")
    elif sum(max(1, round(pool * share)) for share in shares) >= pool:
        detail = f"{pool} {kind} example{'s are' if pool != 1 else ' is'} too few for these shares"
        yield fault(["dataset"], "too_few_examples", detail)
