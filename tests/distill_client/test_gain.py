"""The benchmark's page: what it writes, and that it touches its own section alone."""

from datetime import UTC, datetime, timedelta

from benchmarks.gain import HEADING, section, spread
from benchmarks.results import rewritten
from distill_client.shapes import Job
from tests.distill_client.live import REPORT

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job.model_validate(
    {
        "id": "job_1",
        "status": "succeeded",
        "report": REPORT,
        "started_at": BEGAN,
        "finished_at": BEGAN + timedelta(minutes=3),
    }
)


def test_the_section_has_a_row_for_each_model_and_the_gain() -> None:
    made = section([JOB, JOB, JOB], [1, 2, 3])
    assert made.startswith(HEADING + "\n")
    assert "| student, distilled | 73.8 ± 0.0 | 72.8 ± 0.0 | 90.0 ± 0.0 | 4,386,178 | 17.6 |" in made
    assert "| student on labels alone | 64.3 ± 0.0 |" in made
    assert "Gain in accuracy: 9.5 ± 0.0 points. Running time per job: 180 ± 0 s." in made
    assert "seeds 1, 2, 3" in made


def test_a_spread_is_the_mean_and_the_sample_deviation() -> None:
    assert spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert spread([1.25], 2) == "1.25"


def test_only_its_own_section_is_rewritten() -> None:
    page = f"# Results\n\n## Before\n\nold\n\n{HEADING}\n\nold\n\n## After\n\nold\n"
    made = rewritten(page, HEADING, f"{HEADING}\n\nmine\n")
    assert made == f"# Results\n\n## Before\n\nold\n\n{HEADING}\n\nmine\n\n## After\n\nold\n"


def test_a_page_without_the_section_gets_it() -> None:
    assert rewritten("", HEADING, f"{HEADING}\n") == f"# Results\n\n{HEADING}\n"
    assert rewritten("# Results\n\n## Other\n", HEADING, f"{HEADING}\n") == f"# Results\n\n## Other\n\n{HEADING}\n"


def test_writing_it_twice_is_writing_it_once() -> None:
    made = section([JOB], [1])
    assert rewritten(rewritten("# Results\n", HEADING, made), HEADING, made) == rewritten("# Results\n", HEADING, made)
