"""What can be wrong with an uploaded model."""

from service.errors import InvalidUpload
from service.problems import Fault

CONVERT = (
    'python -c "from transformers import AutoModelForSequenceClassification as M, AutoTokenizer as T; '
    "M.from_pretrained('DIR').save_pretrained('OUT', safe_serialization=True); "
    "T.from_pretrained('DIR').save_pretrained('OUT')\""
)
MODEL_HINTS = {
    "unknown_archive": "Pack the folder as .zip, .tar, .tar.gz or .tar.zst.",
    "broken_archive": "Pack the folder again.",
    "unsafe_member": "Pack the folder's own files with plain relative names: `tar czf model.tar.gz -C DIR .`",
    "too_many_files": "Pack one transformers folder, of at most 1000 files.",
    "too_large_expanded": "The operator sets DISTILL_MAX_MODEL_EXPANDED_BYTES.",
    "file_too_large": "Only *.safetensors may exceed 256 MB; JSON may have 64 MB and 4 million values.",
    "pickled_weights": f"Where you trust the weights, convert them and upload OUT: {CONVERT}",
    "remote_code": "Upload a model that transformers itself can build; code in model folders is never run here.",
    "unknown_file": "Leave the file out; a model folder is config, tokenizer and *.safetensors.",
    "no_config": "Upload the folder that save_pretrained wrote, with its config.json.",
    "broken_config": "Write the folder again with save_pretrained.",
    "no_weights": f"Upload model.safetensors, or its parts with model.safetensors.index.json. To convert: {CONVERT}",
    "broken_weights": "Write the folder again with save_pretrained.",
    "no_processor": "Save the image processor into the folder too: image_processor.save_pretrained('DIR').",
    "processor_differs": "Save the image processor that belongs to the model, of the size in its config.json.",
    "no_tokenizer": "Save the tokenizer into the folder too: tokenizer.save_pretrained('DIR').",
}


class ModelRefused(InvalidUpload):
    """An archive that holds no model that we would load."""


def refused(code: str, detail: str, member: str | None = None) -> ModelRefused:
    detail = f"'{member[:200]}': {detail}" if member is not None else detail
    return ModelRefused([Fault(pointer="/file", detail=detail, code=code, hint=MODEL_HINTS[code])])
