"""A transformers folder, judged without loading it: what may lie in it, and what its config says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.models import bounded_json
from service.models.faults import refused
from service.models.processor import PROCESSOR, check_processor
from service.models.weights import count

MAX_JSON_BYTES = 64 << 20
MAX_CONFIG_BYTES = 1 << 20
MAX_UNKNOWN_JSON_BYTES = 1 << 20
MAX_OTHER_BYTES = 256 << 20
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".npy", ".npz", ".joblib", ".mar")
CODE = (".py", ".pyc", ".so", ".dll", ".sh")
SENTENCEPIECE = (".model", ".spm")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGE_JSON = frozenset({"tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json", INDEX})
"""What may be large and is read: other JSON that is larger than a config is no more than text here."""
VOCABULARIES = (
    {"tokenizer.json"},
    {"vocab.txt"},
    {"vocab.json", "merges.txt"},
    {"tokenizer.model"},
    {"spiece.model"},
    {"sentencepiece.bpe.model"},
    {"spm.model"},
)
LAYER_KEYS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
}
"""What a model is for, by how its architecture's name ends."""
# Some families share one layer's weights among all: their configs ask for many times what the file holds.
MAX_CONFIG_OVER_WEIGHTS = 50


@dataclass(frozen=True)
class Facts:
    architecture: str
    task: str | None
    labels: list[str] | None
    layers: int | None
    parameters: int
    embedding_parameters: int


def check_member(name: str, size: int) -> None:
    """Refuse by name and size, before unpacking. Raises ModelRefused."""
    lower = name.lower()
    if lower.endswith(PICKLED):
        raise refused("pickled_weights", "may hold pickled code, which loading would run", name)
    if lower.endswith(CODE):
        raise refused("remote_code", "is code", name)
    limit = MAX_CONFIG_BYTES if lower.endswith("config.json") else MAX_OTHER_BYTES
    limit = min(limit, MAX_JSON_BYTES) if lower.endswith(".json") else limit
    if size > limit and not lower.endswith(".safetensors"):
        raise refused("file_too_large", f"has {size} bytes", name)


def examine(folder: Path) -> Facts:
    """Say what the model is. Raises ModelRefused."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    _check_contents(folder)
    config = _config(folder, names)
    weights = count([folder / name for name in _weight_files(folder, names)])
    _check_sizes(config, weights.parameters)
    architectures = config.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else config["model_type"]
    architecture = str(named)[:200]
    task = task_of(architecture)
    looks = _looks(folder, names, config, task)
    return Facts(
        architecture=architecture,
        task=task or ("image-classification" if looks else None),
        labels=_labels(config) if task in ("text-classification", "image-classification") else None,
        layers=next((config[key] for key in LAYER_KEYS if type(config.get(key)) is int), None),
        parameters=weights.parameters,
        embedding_parameters=weights.embedding_parameters,
    )


def _looks(folder: Path, names: set[str], config: dict[str, Any], task: str | None) -> bool:
    """Whether it reads images: what prepares an example for it must lie beside it. Raises ModelRefused."""
    has_words = any(needed <= names for needed in VOCABULARIES)
    if task == "image-classification" or (PROCESSOR in names and not has_words):
        if PROCESSOR not in names:
            raise refused("no_processor", f"there is no {PROCESSOR}")
        check_processor(_json(folder / PROCESSOR, PROCESSOR), config)
        return True
    if not has_words:
        raise refused("no_tokenizer", "there is neither a tokenizer.json nor a vocabulary")
    return False


def task_of(architecture: str) -> str | None:
    """Return what a model of this architecture is for; None for a bare body, and for what is not known."""
    return next((task for ending, task in TASKS.items() if architecture.endswith(ending)), None)


def _check_contents(folder: Path) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if _is_read(path):
            for found in _walk([_json(path, name)]):
                if "auto_map" in found:
                    raise refused("remote_code", "asks for code of its own (auto_map)", name)
        elif path.suffix != ".safetensors" and not path.name.endswith(SENTENCEPIECE) and not _is_text(path):
            raise refused("unknown_file", "is neither text nor safetensors", name)


def _is_read(path: Path) -> bool:
    is_known = path.name in LARGE_JSON or path.stat().st_size <= MAX_UNKNOWN_JSON_BYTES
    return path.suffix == ".json" and is_known


def _config(folder: Path, names: set[str]) -> dict[str, Any]:
    if "config.json" not in names:
        raise refused("no_config", "there is no config.json at the top of the archive")
    config = _json(folder / "config.json", "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise refused("broken_config", "is no object with a model_type", "config.json")
    return config


def _weight_files(folder: Path, names: set[str]) -> list[str]:
    if WHOLE in names:
        return [WHOLE]
    if INDEX not in names:
        raise refused("no_weights", f"there is no {WHOLE}")
    index = _json(folder / INDEX, INDEX)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise refused("broken_weights", "has no weight_map", INDEX)
    files = sorted({str(name) for name in weight_map.values()})
    missing = [name for name in files if name not in names or not name.endswith(".safetensors")]
    if missing:
        raise refused("no_weights", f"names '{missing[0][:100]}', which is not there", INDEX)
    return files


def _check_sizes(config: dict[str, Any], parameters: int) -> None:
    """A config far larger than the weights would make a loader allocate what nobody uploaded."""
    hidden = _number(config, "hidden_size", "dim", "d_model", "n_embd") or 1
    layers = _number(config, *LAYER_KEYS) or 1
    inner = _number(config, "intermediate_size", "hidden_dim", "ffn_dim", "d_ff", "n_inner") or hidden
    positions = _number(config, "max_position_embeddings", "n_positions") or 1
    vocabulary = _number(config, "vocab_size") or 1
    labels = _number(config, "num_labels") or 1
    asked = layers * (4 * hidden * hidden + 2 * hidden * inner) + (vocabulary + labels) * hidden
    # Relative and rotary positions have no table, so the number of positions alone says little.
    asked += hidden * positions if positions > 10_000_000 else 0
    if asked > MAX_CONFIG_OVER_WEIGHTS * (parameters + 1_000_000):
        detail = f"asks for some {asked} parameters, the weights hold {parameters}"
        raise refused("broken_config", detail, "config.json")


def _number(config: dict[str, Any], *keys: str) -> int | None:
    return next((config[key] for key in keys if type(config.get(key)) is int and config[key] > 0), None)


def _labels(config: dict[str, Any]) -> list[str]:
    """The class names in the head's order; transformers' own where the config has none."""
    id2label = config.get("id2label")
    if not isinstance(id2label, dict) or not id2label:
        return [f"LABEL_{place}" for place in range(min(_number(config, "num_labels") or 2, 100_000))]
    try:
        by_place = {int(place): str(name) for place, name in id2label.items()}
    except ValueError:
        raise refused("broken_config", "id2label has a key that is no number", "config.json") from None
    if sorted(by_place) != list(range(len(by_place))):
        raise refused("broken_config", "id2label does not count from 0", "config.json")
    return [by_place[place] for place in range(len(by_place))]


def _json(path: Path, name: str) -> Any:
    try:
        return bounded_json.loads(path.read_bytes())
    except bounded_json.TooManyValues as error:
        raise refused("file_too_large", str(error), name) from None
    except (ValueError, RecursionError):
        raise refused("broken_config", "is not JSON", name) from None


def _walk(value: dict[str, Any] | list[Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """Every object near the top; a tokenizer's vocabulary of strings is not entered."""
    if isinstance(value, dict):
        yield value
    if depth < 5:
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, (dict, list)):
                yield from _walk(part, depth + 1)


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        while piece := file.readline(1 << 16):
            if b"\0" in piece:
                return False
    return True
