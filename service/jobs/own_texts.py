"""What can be wrong with the data set of a student that learns on its own texts."""

from collections.abc import Iterator

from core.spec import Form
from service.jobs.checked import Checked
from service.jobs.faults import fault
from service.problems import Fault

ALL_ITS_OWN = "Set method.student_share and alpha to 1: then all is learned from the student's own texts."


def own_text_faults(checked: Checked, form: Form) -> Iterator[Fault]:
    """Find what a worker would find: nothing to ask, or no completions where some are to be learned."""
    method, columns, present = checked.spec.method, checked.spec.dataset.columns, checked.columns
    if method.type != "on_policy" or checked.dataset is None:
        return
    if form == "text":
        detail = f"column '{columns.text}' holds texts without prompts: there is nothing to ask the student"
        yield fault(["dataset", "columns"], "no_prompts", detail)
    column = present.get(columns.completion)
    if form != "prompt" or (column is not None and column["nulls"] < checked.dataset.examples):
        return
    lacking = f"column '{columns.completion}' is {'not there' if column is None else 'empty'}"
    if method.student_share < 1:
        detail = f"{lacking}: there is nothing for the examples that the student does not write itself"
        yield fault(["method", "student_share"], "no_completions", detail, ALL_ITS_OWN)
    for place, teacher in enumerate(checked.spec.teacher_models):
        if teacher.finetune is not None:
            detail = f"{lacking}: there is nothing to fine-tune the teacher on"
            parts = [*checked.place_of_teacher(place), "finetune"]
            yield fault(parts, "no_completions", detail, "Leave finetune out, or give completions.")
