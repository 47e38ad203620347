"""Saving a tokenizer so that transformers 5 and 4 both read it."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a tokenizer, free of the truncation and padding that its last use left in it.

    transformers 5 may write a class that version 4 does not know; the classic class of the same model, or the general
    fast tokenizer, is written instead.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = classic_class(str(config.get("tokenizer_class", "")), is_fast=tokenizer.is_fast)
    if isinstance(config.get("extra_special_tokens"), list):
        # Version 4 wants names there, and has another place for those without one, which version 5 reads too.
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    for key in ("is_local", "local_files_only", "backend", "name_or_path"):
        config.pop(key, None)  # where the teacher lay on the worker is nobody's business
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def classic_class(name: str, *, is_fast: bool) -> str:
    """Return the class name that versions 4 and 5 both know."""
    if name in ("", "TokenizersBackend", "PythonBackend", "PreTrainedTokenizerFast"):
        return "PreTrainedTokenizerFast"
    return name if not is_fast or name.endswith("Fast") else f"{name}Fast"
