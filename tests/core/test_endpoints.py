"""A server and its budget: said whole, or refused with a reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.endpoints import BudgetSpec, EndpointSpec, EndpointTeacher
from core.spec import JobSpec
from tests.core.rows import SMALLEST, spec_of

SERVER = {"base_url": "http://127.0.0.1:8080/v1", "model": "m"}


def test_the_address_is_kept_as_what_it_means() -> None:
    endpoint = EndpointSpec.model_validate({**SERVER, "base_url": "HTTPS://API.Example.com:443/v1/"})
    assert endpoint.base_url == "https://api.example.com/v1"
    assert EndpointSpec.model_validate_json(endpoint.model_dump_json()) == endpoint


def test_a_key_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        EndpointSpec.model_validate({**SERVER, "base_url": "https://user:sk-value@example.com"})
    (fault,) = refused.value.errors()
    assert fault["type"] == "invalid_base_url"
    assert "sk-value" not in fault["msg"]


@pytest.mark.parametrize(
    "budget",
    [
        {"max_cost": 1.0},
        {"max_cost": 1.0, "price_per_million_prompt_tokens": 1.0},
        {"price_per_million_completion_tokens": 1.0},
    ],
)
def test_a_cost_needs_both_prices(budget: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        BudgetSpec.model_validate(budget)
    assert [fault["type"] for fault in refused.value.errors()] == ["budget_without_price"]


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 100), st.floats(0, 100))
def test_a_cost_is_the_sum_of_its_parts(prompt: int, completion: int, price: float, other: float) -> None:
    budget = BudgetSpec(price_per_million_prompt_tokens=price, price_per_million_completion_tokens=other)
    parts = [budget.cost(prompt, 0), budget.cost(0, completion)]
    assert budget.cost(prompt, completion) == pytest.approx(sum(part or 0 for part in parts))
    assert budget.cost(1_000_000, 0) == pytest.approx(price)
    assert BudgetSpec().cost(prompt, completion) is None


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({}, "method.type"),
        ({"method": {"type": "logits"}}, "method.type"),
        ({"method": {"type": "sequence", "generation": {"engine": "openvino"}}}, "method.generation.engine"),
    ],
)
def test_a_black_box_shows_no_logits_and_chooses_its_engine(written: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as refused:
        spec_of(teacher={"endpoint": SERVER}, **{"task": "text-generation", **written})
    (fault,) = refused.value.errors()
    assert (fault["type"], fault["ctx"]["place"]) == ("black_box_teacher", place)


def test_teachers_with_weights_are_told_from_endpoints() -> None:
    spec = spec_of()
    assert spec.endpoint is None
    assert [teacher.model for teacher in spec.teacher_models] == ["t"]
    black_box = JobSpec.model_construct(
        **{**SMALLEST, "teacher": (EndpointTeacher.model_validate({"endpoint": SERVER}),)}
    )
    assert black_box.endpoint is not None
    assert black_box.teacher_models == ()
