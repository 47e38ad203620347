"""What the documentation says is so."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from core.settings import Settings
from core.spec import JobSpec
from service.catalogue import CODES
from tests.architecture.tree import ROOT, project_files

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path for path in project_files() if path.suffix == ".md"]


def headings(page: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_setting_has_a_heading_and_every_heading_a_setting() -> None:
    documented = [heading for heading in headings("settings.md") if heading.startswith("DISTILL_")]
    assert documented == [f"DISTILL_{name.upper()}" for name in Settings.model_fields]


def test_every_error_code_has_a_heading_and_every_heading_a_code() -> None:
    documented = [heading for heading in headings("errors.md") if re.fullmatch(r"[a-z0-9_]+", heading)]
    assert sorted(documented) == sorted(code.code for code in CODES)


def test_every_error_page_says_what_the_service_says() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    stale = [code.code for code in CODES if code.hint.rstrip(".") not in page]
    assert stale == []


def tree_of_readme() -> dict[str, set[str]]:
    """Top-level entries of the README's tree, each with the entries below it."""
    block = README.split("## The tree")[1].split("```")[1]
    found: dict[str, set[str]] = {}
    here = ""
    for line in block.strip("\n").splitlines():
        if line.startswith("    "):
            found[here] |= set(line.split())
        else:
            here = line.split()[0]
            found[here] = set()
    return found


def tree_of_disk() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in project_files():
        first, *rest = path.relative_to(ROOT).parts
        below = found.setdefault(first + ("/" if rest else ""), set())
        if rest:
            below.add(rest[0] + ("/" if len(rest) > 1 else ""))
    return found


def test_the_readmes_tree_is_the_disks() -> None:
    assert tree_of_readme() == tree_of_disk()


def test_the_readmes_jobs_are_jobs() -> None:
    jobs = re.findall(r"<<JSON\n(.*?)\nJSON\n", README, re.DOTALL)
    assert jobs
    for job in jobs:
        written = json.loads(job.replace("$DATASET", "ds_1"))
        JobSpec.model_validate(written)
        example = json.loads((ROOT / "examples" / "movie_reviews" / "job.json").read_text(encoding="utf-8"))
        assert written["training"] == example["training"], "the session is the demo's"


def test_the_path_of_data_names_files_that_exist() -> None:
    path = README.split("## The path of data")[1].split("\n## ")[0]
    named = re.findall(r"`((?:core|service|worker)/[\w/.]*)`", path)
    assert len(named) >= 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_word_of_make_that_is_named_exists() -> None:
    words = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for page in PAGES for word in re.findall(r"`make (\w+)|^make (\w+)", page.read_text(), re.MULTILINE)}
    assert {first or second for first, second in named} <= words
    assert {"demo", "check", "test", "bench", "serve", "work", "migrate"} <= words


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in PAGES if path.parent.name == "decisions")
    assert all(after - before == 1 for before, after in pairwise(numbers))
    assert numbers[0] == 1
