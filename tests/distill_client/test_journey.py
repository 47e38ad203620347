from distill_client.journey import Journey
from distill_client.shapes import Event, Job


def taken(*events: tuple[str, dict[str, object]]) -> Journey:
    journey = Journey.of(Job(id="job_1", status="queued"))
    for type_, data in events:
        journey.take(Event.model_validate({"type": type_, "data": data}))
    return journey


def test_the_stage_is_the_headline_while_it_runs() -> None:
    journey = taken(("status", {"status": "running"}), ("progress", {"stage": "teaching", "percent": 4.0}))
    assert journey.headline == "teaching"
    assert journey.progress.percent == 4.0


def test_a_finished_job_has_no_stage() -> None:
    journey = taken(("progress", {"status": "running", "stage": "training"}), ("done", {"status": "succeeded"}))
    assert (journey.headline, journey.stage) == ("succeeded", None)


def test_the_losses_are_those_of_the_phase_that_spoke_last() -> None:
    teacher = ("metric", {"name": "teacher/ce_loss", "value": 0.7, "step": 1})
    student = ("metric", {"name": "kd_loss", "value": 1.5, "step": 1})
    baseline = ("metric", {"name": "baseline/ce_loss", "value": 0.1, "step": 1})
    assert (taken(teacher).phase, taken(teacher).losses) == ("teacher", {"ce_loss": 0.7})
    assert (taken(teacher, student).phase, taken(teacher, student).losses) == ("", {"kd_loss": 1.5})
    assert taken(teacher, student, baseline).losses == {"ce_loss": 0.1}


def test_other_metrics_and_values_that_are_no_numbers_change_nothing() -> None:
    journey = taken(
        ("metric", {"name": "kd_loss", "value": 1.5, "step": 1}),
        ("metric", {"name": "validation/loss", "value": 9.0, "step": 1}),
        ("metric", {"name": "kd_loss", "value": None, "step": 2}),
    )
    assert (journey.phase, journey.losses) == ("", {"kd_loss": 1.5})
