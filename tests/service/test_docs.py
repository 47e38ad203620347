"""The documentation that the service carries: whole without internet, and every code explained."""

import re
from pathlib import Path

import httpx

from core.errors import every_error
from service.catalogue import CODES


def test_the_page_loads_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) == 3
    for path in linked:
        answer = http.get(path)
        assert path.startswith("/docs/static/")
        assert (answer.status_code, len(answer.content) > 50) == (200, True)


def test_the_root_leads_to_it_and_other_files_are_not_served(http: httpx.Client) -> None:
    assert http.get("/").headers["location"] == "/docs"
    for path in ("/docs/static/../app.py", "/docs/static/%2e%2e%2fapp.py", "/docs/static/nothing"):
        assert http.get(path).status_code == 404


def test_every_code_has_a_heading_and_says_what_to_do(http: httpx.Client) -> None:
    page = http.get("/docs/problems").text
    anchors = re.findall(r'<h2 id="([^"]+)">', page)
    assert len(anchors) == len(set(anchors)) == len(CODES)
    assert {error.code for error in every_error()} <= set(anchors)
    assert all(code.hint for code in CODES)
    assert "<script" not in page


def test_every_code_that_the_service_raises_is_in_the_catalogue() -> None:
    source = "".join(path.read_text() for path in Path("service").rglob("*.py"))
    raised = set(re.findall(r'\b(?:refused|fault|_fault)\((?:(?:\[[^]]*\]|parts), )?"([a-z_0-9]+)"', source))
    assert len(raised) > 40
    assert raised <= {code.code for code in CODES}


def test_a_problem_links_to_its_heading(http: httpx.Client) -> None:
    link = http.get("/v1/jobs/job_x").json()["type"]
    path, _, anchor = link.partition("#")
    assert f'id="{anchor}"' in http.get(path).text
