"""What a row carries as JSON is read back as it was written, by a reader that takes nothing unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.wire import Estimate, JobError, Progress

numbers = st.floats(0, 1e12)
counts = st.integers(0, 2**60)
texts = st.text(max_size=50)
messages = st.one_of(
    st.builds(
        Progress,
        percent=st.floats(0, 100),
        step=counts,
        total_steps=st.none() | counts,
        epoch=numbers,
        seconds_elapsed=numbers,
        seconds_remaining=st.none() | numbers,
    ),
    st.builds(
        JobError,
        code=texts,
        message=texts,
        hint=texts,
        stage=st.none() | texts,
        step=st.none() | counts,
        blame=st.sampled_from(["user", "teacher", "platform"]),
    ),
    st.builds(Estimate, seconds=numbers, peak_memory_bytes=counts, disk_bytes=counts),
)


@given(messages)
def test_what_travels_comes_back_as_it_was(message: Progress | JobError | Estimate) -> None:
    assert type(message).model_validate(message.model_dump()) == message
    assert type(message).model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("kind", [Progress, JobError, Estimate])
def test_an_unknown_word_is_refused(kind: type[Progress | JobError | Estimate]) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({"surprise": 1})
    assert "extra_forbidden" in {fault["type"] for fault in refused.value.errors()}
