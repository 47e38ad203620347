"""Every model on the same held-out texts: loss and closeness, the data set's own completions, right answers, speed."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from core.methods import GenerationSpec
from core.report import WritingQuality
from worker.training.assess import bytes_of
from worker.training.generation.writer import ModelWriter
from worker.training.language.answers import MEASURED
from worker.training.language.evaluation import Tally, Yardstick, perplexity, tallies
from worker.training.language.samples import SAMPLES, Written, distinct_2, spread, write
from worker.training.language.signal import Present
from worker.training.language.texts.finished import Finished
from worker.training.language.texts.measures import loss_tally
from worker.training.language.texts.passing import likeliest, pass_rate, verified_prompts
from worker.training.language.texts.readings import Reader
from worker.training.language.twin import Twin
from worker.training.models import parameter_count
from worker.training.observer import stop_if_asked

TOGETHER = "teachers together"


class Scores:
    """Measures one model after the other, and keeps what each wrote."""

    def __init__(self, finished: Finished) -> None:
        self.finished, self.desk = finished, finished.desk
        self.verified = verified_prompts(
            self.desk.spec.sequence_method, finished.prompts, finished.readings.parts.held_out_name
        )
        self.readers = {
            **{name: replace(finished.student, model=model) for name, model in finished.students.items()},
            **{teacher_key(name): reader for name, reader in finished.teachers_by_name.items()},
        }
        self.tallies = self._tallies()
        self.written = {name: self._written(name, reader) for name, reader in self.readers.items()}

    def of(self, name: str) -> WritingQuality:
        """Return one model's quality; a teacher's under its `teacher_key`."""
        reader, tally, written = self.readers[name], self.tallies[name], self.written[name]
        loss = tally.mean("loss")
        return WritingQuality(
            loss=loss,
            perplexity=perplexity(loss),
            agreement=tally.mean_or_none("agreement"),
            kl_to_teacher=tally.mean_or_none("kl"),
            completions_loss=self._completions_loss(reader),
            pass_rate=self._pass_rate(name, reader),
            distinct_2=distinct_2(written.tokens),
            parameters=parameter_count(reader.model),
            bytes=bytes_of(reader.model),
            tokens_per_second=written.tokens_per_second,
        )

    def together(self, each: Mapping[str, WritingQuality]) -> WritingQuality | None:
        """Return the quality of several teachers as one; None where their tokens cannot be laid over each other."""
        if TOGETHER not in self.tallies:
            return None
        tally = self.tallies[TOGETHER]
        loss = tally.mean("loss")
        return WritingQuality(
            loss=loss,
            perplexity=perplexity(loss),
            agreement=tally.mean("agreement"),
            kl_to_teacher=tally.mean("kl"),
            distinct_2=None,
            parameters=sum(one.parameters for one in each.values()),
            bytes=sum(one.bytes for one in each.values()),
            tokens_per_second=1 / sum(1 / one.tokens_per_second for one in each.values()),
        )

    def _tallies(self) -> dict[str, Tally]:
        readings, rows, heard = self.finished.readings, self.finished.held_out, self.finished.heard
        scripts = dict.fromkeys(self.finished.students, readings.student)
        theirs = map(teacher_key, self.finished.teachers_by_name)
        scripts |= dict(zip(theirs, readings.teachers, strict=True))
        if heard is None:
            pulse, precision = self._pulse(len(rows) * len(self.readers)), self.desk.precision
            return {
                name: loss_tally(reader.model, scripts[name], rows, precision, pulse)
                for name, reader in self.readers.items()
            }
        yardstick = Yardstick(heard.voices, Present(heard.voices, readings.teachers))
        alone = [teacher_key(name) for name in self.finished.teachers_by_name if len(readings.teachers) == 1]
        models: dict[str, nn.Module] = {
            name: reader.model for name, reader in self.readers.items() if name not in alone
        }
        found = tallies(models, scripts, rows, yardstick, self._pulse(len(rows)), mixture=TOGETHER)
        return found | dict.fromkeys(alone, found[TOGETHER])

    def _pulse(self, total: int) -> Callable[[int], None]:
        done = 0

        def pulse(count: int) -> None:
            nonlocal done
            done += count
            self.desk.journey.move("evaluating", 0.3 * done / total)
            stop_if_asked(self.desk.observer)

        return pulse

    def _look(self) -> None:
        self.desk.journey.tell()
        stop_if_asked(self.desk.observer)

    def _written(self, name: str, reader: Reader) -> Written:
        """Let a model go on from the held-out prompts as it reads them."""
        readings = self.finished.readings
        places = list(map(teacher_key, self.finished.teachers_by_name))
        scripts = readings.teachers[places.index(name)] if name in places else readings.student
        rows = spread(self.finished.held_out, SAMPLES)
        return write(reader.model, reader.tokenizer, scripts, rows, self.desk.precision, self._look)

    def _completions_loss(self, reader: Reader) -> float | None:
        """Return the loss on the data set's own held-out completions, as far as it has any."""
        parts = self.finished.own.writings.parts
        rows = parts.test if self.finished.readings.parts.held_out_name == "test" else parts.validation
        rows = spread(rows, MEASURED)
        if not len(rows):
            return None
        scripts = self.finished.own_scribe.scripts(reader)
        rows = rows[scripts.kept(rows) > 0]
        if not len(rows):
            return None
        return loss_tally(reader.model, scripts, rows, self.desk.precision, lambda _: self._look()).mean("loss")

    def _pass_rate(self, name: str, reader: Reader) -> float | None:
        method, training = self.desk.spec.sequence_method, self.desk.spec.training
        is_teacher = name not in self.finished.students
        spec: GenerationSpec = likeliest(method.generation, is_teacher=is_teacher, is_chat=reader.is_chat)
        writer = ModelWriter(Twin(self.desk.precision).of(reader.model), reader.tokenizer, spec, training.seed)
        return pass_rate(method, writer, self.verified, self._look)


def teacher_key(name: str) -> str:
    """Tell a teacher from the students, whatever its name is."""
    return f"teacher {name}"
