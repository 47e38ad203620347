"""In which language a text is written, by py3langid: a model of 4 MB that comes with the package, nothing fetched."""

import functools

from py3langid.langid import MODEL_FILE, LanguageIdentifier


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE)


def known_languages() -> frozenset[str]:
    return frozenset(_identifier().labels)


def language_of(text: str) -> str:
    """Return the likeliest language's code (ISO 639; two letters where there are two). Few words are a guess."""
    return str(_identifier().classify(text)[0])
