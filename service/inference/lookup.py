"""Whose model it is, and whether it can do what is asked: all that the service knows before it asks for work."""

from collections.abc import Sequence
from typing import Any

from core.errors import DistillError, JobFailed
from core.models import Models
from core.serving import ServedFile, ServedModel
from core.settings import Settings
from core.tables import Model
from service.errors import InvalidRequest
from service.models.folder import task_of
from service.problems import Fault

SERVING_HINTS = {
    "not_a_classifier": "Ask a language model at POST /v1/chat/completions or /v1/completions.",
    "too_large_to_serve": "The operator sets DISTILL_SERVING_MEMORY_BYTES.",
    "too_many_tokens": "The operator sets DISTILL_SERVING_MAX_TOKENS.",
    "too_many_texts": "Ask for fewer at once.",
}
LOOKS = "looks at images, and texts alone are asked about here"
DOWNLOAD = "Download it: its model card shows how it is asked."


def is_classifier(model: Model) -> bool:
    return model.task == "text-classification"


def is_language_model(model: Model) -> bool:
    # A row of an earlier version may not say what its model is for.
    return (model.task or task_of(model.architecture)) == "text-generation"


def sees_images(model: Model) -> bool:
    return model.task == "image-classification"


def writer_of(models: Models, reference: str, settings: Settings) -> ServedModel:
    """Return a language model of this owner's. Raises ModelNotFound, InvalidRequest."""
    model = models.get(reference)
    if sees_images(model):
        raise refused("/model", "not_a_language_model", f"model '{reference}' {LOOKS}", DOWNLOAD)
    if is_classifier(model):
        detail = f"model '{reference}' is a classifier: it writes nothing"
        raise refused("/model", "not_a_language_model", detail, f"Ask it at POST /v1/models/{model.name}/classify.")
    return served(model, settings, "/model")


def classifier_of(models: Models, reference: str, settings: Settings) -> ServedModel:
    """Return a classifier of this owner's. Raises ModelNotFound, InvalidRequest."""
    model = models.get(reference)
    if sees_images(model):
        raise refused("/path/name", "not_a_classifier", f"model '{reference}' {LOOKS}", DOWNLOAD)
    if not is_classifier(model) or not model.labels or len(model.labels) < 2:
        what = "a language model" if is_language_model(model) else "without classes to choose from"
        hint = None if is_language_model(model) else "Distil it, or fine-tune it as a teacher: then it has a head."
        raise refused("/path/name", "not_a_classifier", f"model '{reference}' is {what}", hint)
    return served(model, settings, "/path/name")


def served(model: Model, settings: Settings, pointer: str) -> ServedModel:
    """Return what the serving process needs to know of a model. Raises InvalidRequest where it is too large."""
    return check_size(ServedModel(key=model.id, name=model.name, files=files_of(model.files)), settings, pointer)


def check_size(model: ServedModel, settings: Settings, pointer: str) -> ServedModel:
    if model.bytes > settings.serving_memory_bytes:
        detail = f"model '{model.name}' has {model.bytes} bytes, {settings.serving_memory_bytes} may be in memory"
        raise refused(pointer, "too_large_to_serve", detail)
    return model


def files_of(files: Sequence[dict[str, Any]]) -> tuple[ServedFile, ...]:
    names = ("path", "bytes", "sha256", "blob_key")
    return tuple(ServedFile(**{name: file[name] for name in names}) for file in files)


def refused(pointer: str, code: str, detail: str, hint: str | None = None) -> InvalidRequest:
    return InvalidRequest([Fault(pointer=pointer, detail=detail, code=code, hint=hint or SERVING_HINTS[code])])


def answerable(error: DistillError, model: str, prompt: str) -> DistillError:
    """Return the error as an answer to a request: what the user can mend points at its place in the body.

    Args:
        model: the pointer to the model.
        prompt: the pointer to what it was to read.
    """
    if isinstance(error, InvalidRequest):
        return error
    by_user = error.blame == "user" if isinstance(error, JobFailed) else error.status == 422
    if not by_user:
        return error
    pointer = model if error.code == "model_unreadable" else prompt
    return InvalidRequest([Fault(pointer=pointer, detail=str(error), code=error.code, hint=error.hint)])
