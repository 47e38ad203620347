"""The running service keeps to the document that it publishes, whatever it is asked."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema_rs import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core.api_keys import issue
from core.settings import Settings
from core.spec import JobSpec
from service.app import create_app
from service.auth import LOCAL_OWNER
from service.jobs.examples import FULL, SMALLEST
from service.sweeps.examples import SWEEP
from tests.service.live import NO_BROKER, Live, running_service
from tests.service.samples import finished, spec, submit

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(max_examples=4, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = create_app(Settings(data=tmp_path_factory.mktemp("document"), broker_url=NO_BROKER))
    app.state.service.database.close()
    return app.openapi()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("contract")
    with running_service(folder, broker_url=valkey, max_dataset_bytes=1 << 20) as live:
        # A key from the start: one that is made on the way would lock out whoever asks afterwards.
        with live.database.write() as session:
            secret = issue(session, LOCAL_OWNER, "contract").secret
            session.commit()
        live.http.headers["Authorization"] = f"Bearer {secret}"
        yield live


@pytest.fixture(scope="module")
def job_id(live: Live, tmp_path_factory: pytest.TempPathFactory) -> str:
    submit(live.http)
    job_id = finished(live, {"config.json": b"{}"}, tmp_path_factory.mktemp("files"))
    # The serving process takes some seconds to start, which is more than is waited for below.
    live.http.post(f"/v1/jobs/{job_id}/compare", json={"prompts": ["x"]}, timeout=120).raise_for_status()
    return job_id


@pytest.fixture(scope="module")
def sweep_id(live: Live) -> str:
    answer = live.http.post("/v1/sweeps", json={"base": spec(live.http), "grid": {"T": [1, 2]}})
    return str(answer.json()["id"])


def test_the_document_is_openapi_3_1_with_readable_operations(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(name.replace("_", "").isalpha() for name in names), names
    assert all(operation["tags"] and operation["summary"] for operation in operations)


def test_every_error_answer_below_v1_is_a_problem(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values() if path.startswith("/v1") else ():
            errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
            assert {"400", "401", "403", "422", "500", "503"} <= set(errors)
            for answer in errors.values():
                assert list(answer["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("name", ["smallest", "full"])
def test_the_examples_are_what_the_schema_asks(document: dict[str, Any], name: str) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    valid = Draft202012Validator({**body["schema"], "components": document["components"]})
    shown, written = body["examples"][name]["value"], {"smallest": SMALLEST, "full": FULL}[name]
    assert JobSpec.model_validate(shown) == JobSpec.model_validate(written)
    for example in (shown, written):
        assert valid.is_valid(example)
        assert not valid.is_valid({**example, "T": 0})
        assert not valid.is_valid({**example, "temperature": 1})


def test_the_example_of_a_sweep_is_what_the_schema_asks(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/sweeps"]["post"]["requestBody"]["content"]["application/json"]
    valid = Draft202012Validator({**body["schema"], "components": document["components"]})
    assert body["examples"]["sweep"]["value"] == SWEEP
    assert valid.is_valid(SWEEP)
    for grid in ({}, {"T": []}, {"T": 1}, {"T": list(range(65))}):
        assert not valid.is_valid({**SWEEP, "grid": grid})


def test_the_service_answers_as_its_document_says(live: Live, job_id: str, sweep_id: str) -> None:
    published = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    asked = 0
    for found in published.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr] # an error here is the test's failure
        # A stream of a job that still runs has no end to wait for.
        if operation.path.endswith("/stream"):
            continue
        for mode in GenerationMode:
            _ask(operation, mode, {"job_id": job_id, "sweep_id": sweep_id}, live)
            asked += 1
    assert asked > 60


def _ask(operation: Any, mode: GenerationMode, known: dict[str, str], live: Live) -> None:
    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        if case.method != "DELETE":
            case.path_parameters.update({name: known[name] for name in known if name in case.path_parameters})
        if "wait" in case.query:
            case.query["wait"] = 0
        case.call_and_validate(checks=CHECKS, headers={"Authorization": live.http.headers["Authorization"]})

    try:
        ask()
    except Unsatisfiable:
        # Nothing wrong can be asked of an operation without parameters.
        assert mode is GenerationMode.NEGATIVE, operation.label


def test_answers_of_a_real_job_fit_the_document(live: Live, job_id: str, document: dict[str, Any]) -> None:
    for path in ("", "/result", "/events", "/metrics", "/artifacts", "/checkpoints"):
        answer = live.http.get(f"/v1/jobs/{job_id}{path}")
        declared = document["paths"][f"/v1/jobs/{{job_id}}{path}"]["get"]["responses"]["200"]
        whole = {**declared["content"]["application/json"]["schema"], "components": document["components"]}
        assert answer.status_code == httpx.codes.OK
        Draft202012Validator(whole).validate(answer.json())


def test_answers_of_a_real_sweep_fit_the_document(live: Live, sweep_id: str, document: dict[str, Any]) -> None:
    for path, template in (("/v1/sweeps", "/v1/sweeps"), (f"/v1/sweeps/{sweep_id}", "/v1/sweeps/{sweep_id}")):
        answer = live.http.get(path)
        declared = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer.status_code == httpx.codes.OK
        Draft202012Validator({**declared, "components": document["components"]}).validate(answer.json())
