"""The classes: their order, and how the data set's label names meet a teacher's."""

from collections.abc import Mapping, Sequence


def class_names(id2label: Mapping[int, str]) -> list[str]:
    """Return a head's classes in the order of its outputs."""
    return [str(id2label[index]) for index in sorted(id2label)]


def places_among(names: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """Return for each name its index in `classes`, or None where one has no place.

    Names match as written, else without regard to case, else as integers that are indices.
    """
    for spell in (str, str.casefold):
        index = {spell(name): place for place, name in enumerate(classes)}
        if len(index) == len(classes) and all(spell(name) in index for name in names):
            return [index[spell(name)] for name in names]
    if all(name.isdecimal() and int(name) < len(classes) for name in names):
        return [int(name) for name in names]
    return None


def missing_from(classes: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that `classes` lacks, in words for an error."""
    known = {name.casefold() for name in classes}
    return [name for name in names if name.casefold() not in known]


def permutation_to(classes: Sequence[str], ordered: Sequence[str]) -> list[int] | None:
    """Return where each of `ordered` stands in `classes`, or None unless both hold the same classes."""
    if len(classes) != len(ordered):
        return None
    places = places_among(ordered, classes)
    return places if places is not None and len(set(places)) == len(ordered) else None


def by_number_or_name(names: Sequence[str]) -> list[str]:
    """Sort label names: as numbers where all are whole numbers, as text otherwise."""
    if all(name.removeprefix("-").isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)
