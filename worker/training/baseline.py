"""The same student on labels alone: what the gain is measured against."""

from worker.training.aim import Aim
from worker.training.desk import Desk
from worker.training.images.augment import jittered
from worker.training.lessons import Lessons
from worker.training.phase import Phase
from worker.training.readings import Readings
from worker.training.student_phase import measure_of, pupil_of
from worker.training.students import Student


def why_no_baseline(desk: Desk, readings: Readings) -> str | None:
    """Return why there is no baseline, or None where there is one."""
    if not desk.spec.teacher:
        return "the student itself learned from labels alone"
    if not desk.spec.evaluation.baseline:
        return "evaluation.baseline is false"
    if not len(readings.examples.labelled_train):
        return "no training example has a label"
    return None


def baseline_phase(desk: Desk, readings: Readings, student: Student, steps: int) -> Phase:
    """Return the phase in which a copy of the student learns from labels alone.

    Start, seed, schedule, batch size and number of steps are the student's, and where all examples are labelled so is
    the order; early stopping, where it is asked for, keeps the best here as well.
    """
    aim = Aim(alpha=0.0)
    return Phase(
        name="baseline",
        folder=desk.folder / "baseline",
        pupil=lambda: pupil_of(desk, readings, student),
        reader=student.reader,
        lessons=Lessons(readings.examples.labelled_train, readings.student, readings.codes),
        aim=aim,
        settings=desk.spec.training,
        steps=steps,
        precision=desk.precision,
        measure=measure_of(readings, aim, None),
        early_stopping=desk.spec.training.early_stopping,
        fill=jittered(desk, readings.student),
        crew=desk.crew,
    )
