"""The labels of a data set, as training will read them from its column."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.tables import Dataset


@dataclass(frozen=True)
class Labels:
    column: str
    names: list[str] | None
    """None: more than are counted."""
    labelled: int
    examples: int

    def lacking_in(self, classes: Sequence[str]) -> list[str]:
        """The labels without a place among a teacher's classes; none where all match by name, by name in any case, or
        as indices."""
        names = self.names or []
        for spell in (str, str.casefold):
            known = {spell(name) for name in classes}
            if len(known) == len(classes) and all(spell(name) in known for name in names):
                return []
        if all(name.isdecimal() and int(name) < len(classes) for name in names):
            return []
        known = {name.casefold() for name in classes}
        return [name for name in names if name.casefold() not in known] or list(names)


def labels_of(dataset: Dataset, column_name: str) -> Labels:
    """A column that is not there holds no label."""
    column = next((column for column in dataset.columns if column["name"] == column_name), None)
    if column is None:
        return Labels(column_name, [], 0, dataset.examples)
    counts = column["values"]
    labelled = dataset.examples - column["nulls"]
    if counts is None:
        # A column of nulls alone has no values to count.
        return Labels(column_name, None if labelled else [], labelled, dataset.examples)
    blank = sum(count for name, count in counts.items() if not name.strip())
    return Labels(column_name, [name for name in counts if name.strip()], labelled - blank, dataset.examples)
