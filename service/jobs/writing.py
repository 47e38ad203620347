"""What can be wrong with a language model's job."""

from collections.abc import Iterator

from core.blobs import Blobs
from core.errors import ChatTemplateUnusable, TokenizersDiffer
from core.spec import Form
from core.tables import Model
from service.jobs.checked import Checked
from service.jobs.cut_short import cut_faults
from service.jobs.faults import Part, fault, missing_column, share_faults, split_faults
from service.jobs.own_texts import own_text_faults
from service.jobs.teachers_texts import asking_faults, teachers_text_faults, text_warnings
from service.models.folder import task_of
from service.models.tokenizers import has_chat_template, tokens_are_same, tokens_differ
from service.problems import Fault

SAME_TOKENS = (
    "Teacher and student have the same tokens: method.alignment uld forgets which word each probability is of, and a "
    "divergence of plain logits says more. Leave alignment out."
)


def writing_faults(checked: Checked, blobs: Blobs) -> Iterator[Fault]:
    """Find what a worker would find: columns, chats, models that do not write, tokens that do not meet."""
    form = None
    if checked.dataset is not None:
        form = checked.spec.dataset.columns.form_of(checked.columns)
        yield from _dataset(checked, form)
    writers = _writers(checked)
    for parts, name, model in writers:
        yield from _model(parts, name, model)
        if form == "messages" and not has_chat_template(blobs, model):
            lacking = ChatTemplateUnusable(f"'{name}'", "its tokenizer has no chat template")
            yield fault(parts, lacking.code, str(lacking), lacking.hint)
    if checked.spec.method.type != "sequence":
        yield from _tokens(checked, writers, blobs)
        yield from cut_faults(checked, form, writers[0][2] if writers else None, blobs)
    else:
        yield from asking_faults(checked, blobs)
        checked.warnings += text_warnings(checked, form)


def _writers(checked: Checked) -> list[tuple[list[Part], str, Model]]:
    """Return the models that are there, where the body names them, the one whose tokens count (the student's) first."""
    teachers = [([*parts, "model"], teacher.model, model) for parts, teacher, model in checked.known_teachers()]
    if checked.student is not None and checked.spec.student.model is not None:
        return [(["student", "model"], checked.spec.student.model, checked.student), *teachers]
    return teachers


def _dataset(checked: Checked, form: Form | None) -> Iterator[Fault]:
    wanted, present = checked.spec.dataset, checked.columns
    yield from split_faults(wanted.columns.split, present)
    if form is None:
        detail = f"the data set has no chats, prompts or texts; it has {', '.join(list(present)[:20])}"
        yield fault(["dataset", "columns"], "missing_column", detail)
        return
    yield from _cells(checked, form)
    yield from own_text_faults(checked, form)
    yield from teachers_text_faults(checked, form)
    learned = _learned_column(checked, form)
    if learned is None or learned not in present:
        return
    pool = checked.dataset.examples - present[learned]["nulls"] if checked.dataset is not None else 0
    if pool == 0:
        yield fault(["dataset", "columns"], "no_completions", f"column '{learned}' is empty: there is nothing to learn")
    else:
        yield from share_faults(wanted, min(pool, wanted.max_examples or pool), "usable")


def _learned_column(checked: Checked, form: Form) -> str | None:
    """Return the column without which an example is left out."""
    columns = checked.spec.dataset.columns
    if form != "prompt":
        return str(getattr(columns, form))
    return columns.completion if checked.spec.method.type == "logits" else columns.prompt


def _cells(checked: Checked, form: Form) -> Iterator[Fault]:
    """Check that the columns hold what they should."""
    columns, present = checked.spec.dataset.columns, checked.columns
    if form == "messages":
        chats = present[columns.messages or ""]
        wrong = chats.get("not_chats")
        if chats["type"] not in ("json", "string"):
            wrong = wrong or {"line": 1, "why": f"messages are {chats['type']}"}
        if wrong is not None:
            detail = f"column '{columns.messages}', line {wrong['line']}: {wrong['why']}"
            yield fault(["dataset", "columns", "messages"], "not_chats", detail)
        return
    roles = ("prompt", "completion") if form == "prompt" else ("text",)
    for role in roles:
        name = getattr(columns, role)
        if name in present and present[name]["type"] != "string":
            hint = f"Name the column that holds it in dataset.columns.{role}."
            detail = f"column '{name}' holds {present[name]['type']}, not text"
            yield fault(["dataset", "columns", role], "not_text", detail, hint)
    if form == "prompt" and columns.completion not in present and checked.spec.method.type == "logits":
        missing = missing_column("completion", columns.completion, list(present))
        detail = f"{missing.detail}. Method logits learns from completions"
        hint = 'Name it in dataset.columns.completion, or let the teacher write: "method": {"type": "sequence"}.'
        yield missing.model_copy(update={"detail": detail, "hint": hint})


def _model(parts: list[Part], name: str, model: Model) -> Iterator[Fault]:
    """A model that says what else it is does not write; one that says nothing is left to the worker."""
    says_nothing = model.architecture == model.architecture.lower()
    if task_of(model.architecture) != "text-generation" and not says_nothing:
        yield fault(parts, "not_a_language_model", f"'{name}' is a {model.architecture}, which does not write")


def _two(writers: list[tuple[list[Part], str, Model]]) -> tuple[Model, Model]:
    return writers[0][2], writers[1][2]


def _tokens(checked: Checked, writers: list[tuple[list[Part], str, Model]], blobs: Blobs) -> Iterator[Fault]:
    """Logits are compared token by token: every model must speak of the first one's tokens, unless they are sorted."""
    if not writers:
        return
    if checked.spec.is_aligned:
        if checked.spec.student.model is None or (len(writers) > 1 and tokens_are_same(blobs, *_two(writers))):
            checked.warnings.append(SAME_TOKENS)
        return
    first_parts, _, first = writers[0]
    for parts, name, model in writers[1:]:
        differs = tokens_differ(blobs, first, model)
        if differs is not None:
            error = TokenizersDiffer(name, differs)
            at = first_parts if first_parts[0] == "student" else parts
            yield fault(at, error.code, str(error), error.hint)
