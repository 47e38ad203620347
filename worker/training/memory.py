"""How running out of memory looks: torch has several faces for it."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice, on the device or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text.lower())
