"""An image processor's config, judged without loading it."""

from typing import Any

from service.models.faults import refused

PROCESSOR = "preprocessor_config.json"
FIXED_SIZE = frozenset({"vit", "deit", "beit", "pixel_mlp"})
"""Architectures that read images of their config's size and no other. Of the rest, the worker will say."""

Size = tuple[int, int]


def check_processor(processor: Any, config: dict[str, Any]) -> None:
    """Refuse what makes images that the model does not read. Raises ModelRefused."""
    if not isinstance(processor, dict):
        raise refused("broken_config", "is no object", PROCESSOR)
    made, read = made_size(processor), _pair(config.get("image_size"))
    if config.get("model_type") in FIXED_SIZE and made is not None and read is not None and made != read:
        detail = f"makes images of {made[1]} x {made[0]} pixels; the model reads {read[1]} x {read[0]}"
        raise refused("processor_differs", detail, PROCESSOR)


def made_size(processor: dict[str, Any]) -> Size | None:
    """Height and width of what it makes; None where that depends on the image, or it does not say."""
    if processor.get("do_center_crop"):
        return _pair(processor.get("crop_size"))
    return _pair(processor.get("size")) if processor.get("do_resize", True) else None


def _pair(written: Any) -> Size | None:
    """A size as configs write it: a number, two of them, or an object."""
    if isinstance(written, dict):
        written = [written.get("height"), written.get("width")]
    if type(written) is int:
        written = [written, written]
    if isinstance(written, list) and len(written) == 2 and all(type(number) is int for number in written):
        return written[0], written[1]
    return None
