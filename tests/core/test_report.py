"""A report is the same in the row, in report.json and in a client."""

from hypothesis import given, settings
from hypothesis import strategies as st

from core.report import REPORT, ClassificationReport, GenerationReport
from tests.reports import a_report

finite = {"allow_nan": False, "allow_infinity": False}
st.register_type_strategy(float, st.floats(**finite))


@given(st.from_type(ClassificationReport) | st.from_type(GenerationReport))
@settings(max_examples=60)
def test_a_report_comes_back_from_json_as_it_was(report: ClassificationReport | GenerationReport) -> None:
    assert REPORT.validate_json(report.model_dump_json()) == report
    assert REPORT.validate_python(report.model_dump(mode="json")) == report


def test_what_a_later_version_adds_is_left_out() -> None:
    """While workers are upgraded before the service, their reports are shown by the one that is still there."""
    report = a_report()
    written = report.model_dump(mode="json")
    later = written | {"later": 1, "examples": written["examples"] | {"later": [2]}}
    assert REPORT.validate_python(later) == report
