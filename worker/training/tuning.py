"""Fine-tuning: teachers that ask for it learn the labels before they teach."""

import copy

from worker.training.aim import Aim
from worker.training.desk import Desk, finetune_settings
from worker.training.images.augment import jittered
from worker.training.lessons import Lessons
from worker.training.models import Loaded
from worker.training.phase import Phase, steps_of, train
from worker.training.pupil import Pupil
from worker.training.readings import Readings
from worker.training.teaching import Classroom


def finetune(desk: Desk, readings: Readings, classroom: Classroom) -> Classroom:
    """Train the teachers that ask for it on the labelled examples, each as a phase of its own."""
    teachers = [
        _finetuned(desk, readings, loaded, number) if desk.spec.teacher_models[number].finetune else loaded
        for number, loaded in enumerate(classroom.teachers)
    ]
    return Classroom(teachers, classroom.classes, classroom.codes)


def _finetuned(desk: Desk, readings: Readings, loaded: Loaded, number: int) -> Loaded:
    if loaded.reader is None:
        raise ValueError("a teacher that reads has what reads for it")
    settings = finetune_settings(desk.spec, number)
    rows = readings.examples.labelled_train
    phase = Phase(
        name=f"teacher-{number}",
        folder=desk.folder / f"teacher-{number}",
        pupil=lambda: Pupil(copy.deepcopy(loaded.model)),
        reader=loaded.reader,
        lessons=Lessons(rows, readings.teachers[number], readings.codes),
        aim=Aim(alpha=0.0),
        settings=settings,
        steps=steps_of(settings, len(rows)),
        precision=desk.precision,
        fill=jittered(desk, readings.teachers[number]),
        crew=desk.crew,
    )
    trained = train(phase, desk.observer, desk.journey)
    return Loaded(trained.model, loaded.reader, frozenset())
