"""What can be wrong with the images of a job."""

from collections.abc import Iterator

from core.architectures import MOST_PARAMETERS, MlpSpec
from service.jobs.checked import Checked
from service.jobs.faults import fault, missing_column
from service.problems import Fault


def image_faults(checked: Checked) -> Iterator[Fault]:
    """Find what a worker would find: no images, or such as a network on raw pixels does not read."""
    columns, present = checked.spec.dataset.columns, checked.columns
    column = present.get(columns.image)
    if column is None:
        yield missing_column("image", columns.image, list(present))
    elif column["type"] != "image":
        detail = f"column '{columns.image}' holds {column['type']}, not images"
        yield fault(["dataset", "columns", "image"], "not_images", detail)
    elif isinstance(checked.spec.student.config, MlpSpec):
        yield from _mlp(checked, checked.spec.student.config)


def _mlp(checked: Checked, wanted: MlpSpec) -> Iterator[Fault]:
    """A network on raw pixels reads images of one size."""
    frame = checked.frame
    if frame is None:
        return
    (least_width, width), (least_height, height) = frame["widths"], frame["heights"]
    if (least_width, least_height) != (width, height):
        detail = f"an mlp reads images of one size; these are {least_width} to {width} pixels wide"
        detail = f"{detail} and {least_height} to {height} high"
        yield fault(["student", "config"], "sizes_differ", detail)
        return
    parameters = wanted.parameters(width * height * frame["channels"], 2)
    if parameters > MOST_PARAMETERS:
        detail = f"for images of {width} x {height} pixels this asks for {parameters:,} parameters"
        yield fault(["student", "config", "hidden"], "student_too_large", f"{detail}; {MOST_PARAMETERS:,} is the most")
