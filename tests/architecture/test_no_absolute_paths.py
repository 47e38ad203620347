"""What is committed works anywhere: no path of one machine, no registry's name, nothing left to write."""

import re

from tests.architecture.tree import ROOT, project_files

# Written in parts, so that this file is not what it looks for.
FOREIGN = {
    "a path of one machine": re.compile(r"(?<![\w.}])/(?:work|root|home)" + r"/\w"),
    "a host name of a package registry": re.compile(
        r"\b(?:pypi\.org|files\.pythonhosted\.org|download\.pytorch\.org|registry\.npmjs\.org|docker\.io|ghcr\.io|"
        r"quay\.io|nvcr\.io|gcr\.io)\b".replace("\\.", "[.]")
    ),
    "something left to write": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
}
# Licences and scripts of others, as they came.
VENDORED = ("service/static/",)


def test_nothing_belongs_to_one_machine() -> None:
    found = [
        f"{relative}:{number}: {what}: {line.strip()[:120]}"
        for path in project_files()
        if not (relative := path.relative_to(ROOT).as_posix()).startswith(VENDORED)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        for what, pattern in FOREIGN.items()
        if pattern.search(line)
    ]
    assert found == []


def test_what_is_looked_for_would_be_found() -> None:
    samples = {
        "a path of one machine": "see /wo" + "rk/main",
        "a host name of a package registry": "https://py" + "pi.org/simple",
        "something left to write": "# TO" + "DO later",
    }
    assert all(FOREIGN[what].search(sample) for what, sample in samples.items())
