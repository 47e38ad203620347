"""Whether two tokenizers speak of the same tokens, so that logits of models that use them can be compared."""

from collections.abc import Mapping


def difference(own: Mapping[str, int], theirs: Mapping[str, int]) -> str | None:
    """Return the first difference between a student's vocabulary and its teacher's (token -> id), in words.

    None where no id means two tokens and no token has two ids; one of them may know more tokens than the other.
    """
    theirs_by_id = {place: token for token, place in theirs.items()}
    for token, place in own.items():
        if theirs.get(token, place) != place:
            return f"'{token}' has id {place}, and {theirs[token]} for the teacher"
        if theirs_by_id.get(place, token) != token:
            return f"id {place} is '{token}', and '{theirs_by_id[place]}' for the teacher"
    return None
