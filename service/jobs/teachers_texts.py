"""What can be wrong with a job whose student learns from texts that its teachers write."""

from collections.abc import Iterator

from core.blobs import Blobs
from core.errors import ChatTemplateUnusable
from core.methods import SequenceMethod
from core.spec import Form
from service.jobs.checked import Checked
from service.jobs.faults import fault, missing_column, short
from service.models.tokenizers import has_chat_template
from service.problems import Fault


def teachers_text_faults(checked: Checked, form: Form) -> Iterator[Fault]:
    """Find what a worker would find in the data set: nothing to ask, no right answers, no such teacher."""
    method, columns = checked.spec.method, checked.spec.dataset.columns
    if method.type != "sequence" or checked.dataset is None:
        return
    if form == "text":
        detail = f"column '{columns.text}' holds texts without prompts: there is nothing to ask the teacher"
        yield fault(["dataset", "columns"], "no_prompts", detail)
    yield from _answers(checked, method)
    yield from _route(checked, method)
    if not lacks_completions(checked, form):
        return
    for place, teacher in enumerate(checked.spec.teacher_models):
        if teacher.finetune is not None:
            detail = "the data set has no completions: there is nothing to fine-tune the teacher on"
            parts = [*checked.place_of_teacher(place), "finetune"]
            yield fault(parts, "no_completions", detail, "Leave finetune out, or give completions.")


def asking_faults(checked: Checked, blobs: Blobs) -> Iterator[Fault]:
    """Find teachers that shall be asked as in a chat and cannot be."""
    method = checked.spec.method
    assert method.type == "sequence"
    if not method.generation.chat and method.generation.system_prompt is None:
        return
    for parts, teacher, model in checked.known_teachers():
        if not has_chat_template(blobs, model):
            lacking = ChatTemplateUnusable(f"'{teacher.model}'", "its tokenizer has no chat template")
            hint = "Leave generation.system_prompt and generation.chat out, or use a teacher that chats."
            yield fault([*parts, "model"], lacking.code, str(lacking), hint)


def text_warnings(checked: Checked, form: Form | None) -> list[str]:
    """Return what is not wrong, and worth knowing before the teacher has written."""
    spec = checked.spec
    method = spec.method
    assert method.type == "sequence"
    found = []
    unused = sorted(({"T"} if spec.hears_likeliest else {"T", "alpha"}) & spec.model_fields_set)
    if unused:
        found.append(f"Method sequence learns texts as labels: {' and '.join(unused)} play no part.")
    if spec.evaluation.baseline and form is not None and lacks_completions(checked, form):
        found.append(
            "The data set has no completions of its own, so the report compares the student with its start, not with a "
            "student that learned from those."
        )
    written, read = method.generation.max_new_tokens, spec.training.max_length
    if written >= read:
        found.append(
            f"A text may have {written} tokens (method.generation.max_new_tokens) and the student reads {read} with "
            "its prompt (training.max_length): longer ones are cut."
        )
    return found


def lacks_completions(checked: Checked, form: Form) -> bool:
    """Tell whether a data set of prompts has no completions; of chats the columns do not tell."""
    column = checked.columns.get(checked.spec.dataset.columns.completion)
    examples = checked.dataset.examples if checked.dataset is not None else 0
    return form == "prompt" and (column is None or column["nulls"] >= examples)


def _answers(checked: Checked, method: SequenceMethod) -> Iterator[Fault]:
    verifier, present = method.filters.verifier, checked.columns
    if verifier is None or verifier.type == "json_schema" or checked.dataset is None:
        return
    parts = ["method", "filters", "verifier", "column"]
    if verifier.column not in present:
        missing = missing_column("answer", verifier.column, list(present))
        hint = "Name the column of right answers in method.filters.verifier.column."
        yield fault(parts, missing.code, missing.detail, hint)
    elif present[verifier.column]["nulls"] >= checked.dataset.examples:
        yield fault(parts, "no_answers", f"column '{verifier.column}' is empty: no text could be right")


def _route(checked: Checked, method: SequenceMethod) -> Iterator[Fault]:
    present = checked.columns
    if method.route is None:
        return
    if method.route not in present:
        missing = missing_column("route", method.route, list(present))
        hint = "Name a column of teachers' names in method.route, or leave it out: then they write in turn."
        yield fault(["method", "route"], missing.code, missing.detail, hint)
        return
    column, known = present[method.route], [teacher.model for teacher in checked.spec.teacher_models]
    unknown = [name for name in column["values"] or [] if name not in known]
    if unknown:
        detail = f"column '{method.route}' names {short(unknown)}, and the job's teachers are {short(known)}"
        yield fault(["method", "route"], "no_such_teacher", detail)
    elif column["nulls"]:
        detail = f"column '{method.route}' names no teacher in {column['nulls']} examples"
        yield fault(["method", "route"], "no_such_teacher", detail)
