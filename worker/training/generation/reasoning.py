"""The thoughts that a model writes before its answer, between <think> and </think>."""

BEGIN, END = "<think>", "</think>"


def without_reasoning(text: str) -> str | None:
    """Return the answer behind the thoughts; None where they never end.

    Templates of some models put the first <think> into the prompt, so that a text holds only the end.
    """
    _, end, answer = text.rpartition(END)
    if BEGIN in answer:
        return None
    return answer.strip() if end else text
