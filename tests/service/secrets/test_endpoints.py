"""`/v1/secrets`: a value comes in and is in no answer, no row and no log line."""

import json

import httpx
import pytest
from sqlalchemy import text

from core.sealing import seal_of
from core.secrets import Secrets
from service.auth import LOCAL_OWNER
from tests.service.live import Live

VALUE = "sk-a-value-that-nobody-sees"


def add(http: httpx.Client, name: str, value: str = VALUE, **more: object) -> httpx.Response:
    return http.post("/v1/secrets", json={"name": name, "value": value, **more})


def test_a_secret_is_stored_listed_by_name_and_forgotten(live: Live, http: httpx.Client) -> None:
    made = add(http, "vendor")
    assert made.status_code == 201
    assert made.json()["name"] == "vendor"
    listed = http.get("/v1/secrets")
    assert [row["name"] for row in listed.json()["data"]] == ["vendor"]
    assert VALUE not in made.text + listed.text
    with live.database.read() as session:
        assert Secrets(session, LOCAL_OWNER).reveal(seal_of(live.settings), "vendor") == VALUE
    assert http.delete("/v1/secrets/vendor").status_code == 204
    assert http.delete("/v1/secrets/vendor").json()["code"] == "secret_not_found"


def test_a_taken_name_is_refused_unless_it_may_be_replaced(http: httpx.Client) -> None:
    first = add(http, "taken").json()
    refused = add(http, "taken", "sk-another-value")
    assert (refused.status_code, refused.json()["code"]) == (409, "secret_name_taken")
    replaced = add(http, "taken", "sk-another-value", replace=True)
    assert replaced.status_code == 201
    assert replaced.json()["id"] == first["id"]


@pytest.mark.parametrize("value", ["", "sk with spaces", "sk-line\r\nX-Other: header", "schlüssel", "x" * 5000])
def test_a_value_that_no_header_carries_is_refused_without_being_repeated(http: httpx.Client, value: str) -> None:
    refused = add(http, "odd", value)
    assert refused.status_code == 422
    (fault,) = refused.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/value", "invalid_secret")
    assert not value or value not in refused.text


@pytest.mark.parametrize("body", [f'{{"name": "a", "value": "{VALUE}"', f'{{"name": "a b", "value": "{VALUE}"}}'])
def test_no_refusal_repeats_the_value(http: httpx.Client, body: str) -> None:
    refused = http.post("/v1/secrets", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code in (400, 422)
    assert VALUE not in refused.text


def test_a_repeated_post_makes_one_and_its_row_tells_nothing(live: Live, http: httpx.Client) -> None:
    body = {"name": "once", "value": VALUE}
    first, second = (http.post("/v1/secrets", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.json() == second.json()
    other = http.post("/v1/secrets", json={**body, "value": "sk-other"}, headers={"Idempotency-Key": "k1"})
    assert other.json()["code"] == "idempotency_key_reused"
    with live.database.read() as session:
        rows = session.execute(text("SELECT * FROM idempotent_answers")).all()
    assert VALUE not in json.dumps([[str(cell) for cell in row] for row in rows])


def test_the_database_file_does_not_hold_the_value(live: Live, http: httpx.Client) -> None:
    add(http, "on-disk")
    files = [path for path in live.settings.data.rglob("*") if path.is_file()]
    assert any(path.name.startswith("distill.sqlite3") for path in files)
    assert [path for path in files if VALUE.encode() in path.read_bytes()] == []


def test_a_page_goes_on_behind_a_secrets_name_as_behind_its_id(http: httpx.Client) -> None:
    for name in ("page-z", "page-a"):
        add(http, name)
    newest, older = http.get("/v1/secrets?limit=2").json()["data"]
    for after in (newest["name"], newest["id"]):
        assert http.get("/v1/secrets", params={"limit": 1, "after": after}).json()["data"] == [older]
