"""Images that are shifted a little at every step, and the teacher that looks at them as they are then.

Legend: N images of the data set, B of a batch, C channels (or classes, in logits), H height, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.training.desk import Desk
from worker.training.device import Precision, autocast, device
from worker.training.images.pixels import Pixels
from worker.training.reading import Reading
from worker.training.signal import ensemble
from worker.training.teaching import Classroom
from worker.training.trainer import Fill


@dataclass(frozen=True)
class Lesson:
    """Teachers that look at each changed image anew: what they said of it as it is does not hold any more."""

    teachers: Sequence[tuple[PreTrainedModel, Pixels]]
    weights: list[float]
    temperature: float
    precision: Precision

    @torch.no_grad()
    def logits(self, images: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the teachers' logits [B, C] together, each for its own view of the images."""
        said = []
        for (model, _), inputs in zip(self.teachers, images, strict=True):
            with autocast(self.precision):
                said.append(model(**inputs).logits.float().cpu().numpy())
        return torch.from_numpy(np.asarray(ensemble(said, self.weights, self.temperature))).to(device())


@dataclass(frozen=True)
class Jitter:
    """Shifts each image by up to `most` pixels in each direction (Hinton, Vinyals and Dean 2015, arXiv:1503.02531, 3).

    The shift depends on seed, step and image alone: not on the micro-batch nor on the state of any generator. So a
    resumed run, and the baseline, see the same.
    """

    most: int
    seed: int
    pixels: Pixels
    lesson: Lesson | None = None

    def __call__(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        rows = batch["rows"].cpu().numpy()
        shifts_B2 = self.shifts(step)[rows]
        inputs = {"pixel_values": self._shifted(batch["inputs"]["pixel_values"], shifts_B2, self.pixels)}
        if self.lesson is None:
            return {**batch, "inputs": inputs}
        views = [
            inputs if pixels is self.pixels else self._view(pixels, rows, shifts_B2)
            for _, pixels in self.lesson.teachers
        ]
        return {**batch, "inputs": inputs, "teacher_logits": self.lesson.logits(views)}

    def shifts(self, step: int) -> np.ndarray[Any, np.dtype[np.int8]]:
        """Return by how many pixels down and to the right every image is shifted at this step, int8 [N, 2]."""
        draw = np.random.default_rng([self.seed, 3, step])
        return draw.integers(-self.most, self.most, (len(self.pixels.lengths), 2), dtype=np.int8, endpoint=True)

    def _view(self, pixels: Pixels, rows: Any, shifts_B2: Any) -> dict[str, Tensor]:
        """The same shifts for a model that reads the images in another size."""
        scaled_B2 = np.rint(shifts_B2 * (pixels.height / self.pixels.height)).astype(np.int64)
        values = pixels.batch(rows)["pixel_values"].to(device())
        return {"pixel_values": self._shifted(values, scaled_B2, pixels)}

    def _shifted(self, values_BCHW: Tensor, shifts_B2: Any, pixels: Pixels) -> Tensor:
        return shifted(values_BCHW, torch.from_numpy(shifts_B2.astype(np.int64)), pixels.offset)


def shifted(values_BCHW: Tensor, shifts_B2: Tensor, empty_C11: Tensor) -> Tensor:
    """Return the images shifted down and to the right, each by its own; what is left empty is `empty_C11`."""
    count, channels, height, width = values_BCHW.shape
    margin, place = int(shifts_B2.abs().max()), values_BCHW.device
    framed = empty_C11.to(place).expand(count, channels, height + 2 * margin, width + 2 * margin).clone()
    framed[:, :, margin : margin + height, margin : margin + width] = values_BCHW
    down_BH = margin - shifts_B2[:, :1].to(place) + torch.arange(height, device=place)
    right_BW = margin - shifts_B2[:, 1:].to(place) + torch.arange(width, device=place)
    every_B, every_C = torch.arange(count, device=place), torch.arange(channels, device=place)
    moved: Tensor = framed[
        every_B[:, None, None, None], every_C[:, None, None], down_BH[:, None, :, None], right_BW[:, None, None, :]
    ]
    return moved


def jittered(desk: Desk, reading: Reading, taught: tuple[Classroom, Sequence[Reading]] | None = None) -> Fill | None:
    """Return what changes each batch as the spec asks, or None; with `taught`, those teachers look along."""
    wanted = desk.spec.training.augment
    if wanted is None:
        return None
    lesson = _lesson(desk, *taught) if taught is not None else None
    jitter = Jitter(wanted.jitter_pixels, desk.spec.training.seed, _pixels(reading), lesson)
    return lambda _, batches, step: [jitter(batch, step) for batch in batches]


def _lesson(desk: Desk, classroom: Classroom, readings: Sequence[Reading]) -> Lesson:
    desk.observer.event(
        "Images are jittered, so the teacher looks at each changed image anew at every step; what it said of them as "
        "they are serves validation and report alone."
    )
    teachers: list[tuple[PreTrainedModel, Pixels]] = []
    for teacher, reading in zip(classroom.teachers, readings, strict=True):
        teacher.model.to(device()).eval()  # type: ignore[arg-type] # transformers says `to` in another way than torch
        teachers.append((teacher.model, _pixels(reading)))
    return Lesson(teachers, desk.weights, desk.spec.T, desk.precision)


def _pixels(reading: Reading) -> Pixels:
    assert isinstance(reading, Pixels), "the spec lets images alone be jittered"
    return reading
