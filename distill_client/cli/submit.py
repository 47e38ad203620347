"""`distill submit` and `distill validate`: a spec from a file, from flags, or from both."""

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from distill_client.cli import formats
from distill_client.cli.app import USAGE, JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import say, write, write_json
from distill_client.cli.watch import follow
from distill_client.shapes import Job, Json, Resolved


def finite(value: float | None) -> float | None:
    """Refuse what a number of JSON cannot be, for an option without a range of its own."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("a finite number is needed")
    return value


SpecFile = Annotated[str | None, typer.Argument(metavar="[FILE|-]", help="The spec as JSON; - reads stdin.")]
Teacher = Annotated[str | None, typer.Option(help="A model's name or id, or a JSON object or list.")]
Student = Annotated[str | None, typer.Option(help="A model's name or id, or a JSON object.")]
Dataset = Annotated[str | None, typer.Option(help="A data set's id, or a JSON object.")]
Temperature = Annotated[float | None, typer.Option("--T", callback=finite, help="Divides both models' logits.")]
Alpha = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="The teacher's share of the loss.")]
Name = Annotated[str | None, typer.Option(help="A name for the job.")]
Output = Annotated[str | None, typer.Option(help="The name under which the student becomes a model.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Any field, such as training.epochs=5.")
]


@app.command()
def submit(
    ctx: typer.Context,
    file: SpecFile = None,
    teacher: Teacher = None,
    student: Student = None,
    dataset: Dataset = None,
    temperature: Temperature = None,
    alpha: Alpha = None,
    name: Name = None,
    output: Output = None,
    settings: Settings = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the job; exit as `watch --exit-status` does.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a job. Flags override the file."""
    flags = _flags(teacher, student, dataset, temperature, alpha, name, output)
    spec = read_spec(file, flags, settings or [])
    with connect(ctx) as client:
        job = client.jobs.submit(spec)
        if as_json:
            write_json(job)
        elif wait:
            say(f"Submitted {job.id}")
        else:
            write(job.id)
            _say_what_next(job)
        if wait:
            raise typer.Exit(follow(client, job.id, as_json=as_json).exit_code)


@app.command()
def validate(
    ctx: typer.Context,
    file: SpecFile = None,
    teacher: Teacher = None,
    student: Student = None,
    dataset: Dataset = None,
    temperature: Temperature = None,
    alpha: Alpha = None,
    name: Name = None,
    output: Output = None,
    settings: Settings = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a spec without starting it: show every default, and what the job would take."""
    flags = _flags(teacher, student, dataset, temperature, alpha, name, output)
    with connect(ctx) as client:
        resolved = client.jobs.validate(read_spec(file, flags, settings or []))
    if as_json:
        write_json(resolved)
        return
    write(json.dumps(resolved.spec, indent=2, ensure_ascii=False), whole=True)
    _say_estimate(resolved)


def read_spec(file: str | None, flags: Json, settings: list[str]) -> Json:
    """The file's spec with the flags and settings laid over it."""
    if file is None and not flags and not settings:
        say("error: nothing to submit. Give a FILE, or --teacher, --student and --dataset.")
        raise typer.Exit(USAGE)
    spec = _read(file) if file is not None else {}
    spec |= flags
    for setting in settings:
        _set(spec, setting)
    return spec


def _flags(
    teacher: str | None,
    student: str | None,
    dataset: str | None,
    temperature: float | None,
    alpha: float | None,
    name: str | None,
    output: str | None,
) -> Json:
    given: Json = {
        "teacher": _json_or_name(teacher),
        "student": _json_or_name(student),
        "dataset": _json_or_name(dataset),
        "T": temperature,
        "alpha": alpha,
        "name": name,
        "output": {"model": output} if output is not None else None,
    }
    return {field: value for field, value in given.items() if value is not None}


def _json_or_name(text: str | None) -> Any:
    return json_or_word(text) if text is not None and text.lstrip().startswith(("{", "[")) else text


def _read(file: str) -> Json:
    if file != "-" and not Path(file).is_file():
        raise CommandFailed(f"there is no file {file}")
    # The bytes, and not a text: a Windows shell writes UTF-16, which tells itself by its first two.
    written = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        spec = read_json(written)
    except json.JSONDecodeError as error:
        raise CommandFailed(f"{file}: not JSON: {error.msg}, line {error.lineno} column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{file}: neither UTF-8 nor UTF-16", "save it as UTF-8") from error
    if not isinstance(spec, dict):
        raise CommandFailed(f"{file}: a spec is a JSON object")
    return spec


def _set(spec: Json, setting: str) -> None:
    """Lay one `a.b=value` over the spec; a part written as a bare name, such as a teacher, becomes an object."""
    path, equals, text = setting.partition("=")
    if not equals or not all(path.split(".")):
        raise CommandFailed(f"--set {setting}: write it as PATH=VALUE, such as training.epochs=5")
    *parents, last = path.split(".")
    part = spec
    for parent in parents:
        inner = part.get(parent)
        if isinstance(inner, str):
            inner = {"id" if parent == "dataset" else "model": inner}
        elif inner is not None and not isinstance(inner, dict):
            raise CommandFailed(f"--set {setting}: {parent} is no object in the spec")
        part[parent] = inner = dict(inner or {})
        part = inner
    part[last] = json_or_word(text)


def json_or_word(text: str) -> Any:
    """JSON where it is JSON, the text itself where it is not: `epochs=5` is a number, `scheduler=cosine` a word."""
    try:
        return read_json(text)
    except json.JSONDecodeError:
        return text


def read_json(text: str | bytes) -> Any:
    """JSON in UTF-8, UTF-16 or UTF-32. Raises CommandFailed for a number that is none, such as NaN or 1e999."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise CommandFailed(f"{written} is no number of JSON", "write a finite one")
    return number


def _say_what_next(job: Job) -> None:
    seconds = (job.estimate or {}).get("seconds")
    about = f", about {formats.duration(seconds)} once it runs" if seconds is not None else ""
    say(f"{job.status.capitalize()}{about}. Watch it: distill watch {job.id}")
    for warning in job.warnings:
        say(f"warning: {warning}", "yellow")


def _say_estimate(resolved: Resolved) -> None:
    estimate = resolved.estimate or {}
    say(
        f"Valid. About {formats.duration(estimate.get('seconds'))}, "
        f"{formats.size(estimate.get('peak_memory_bytes'))} of memory, "
        f"{formats.size(estimate.get('disk_bytes'))} of disk."
    )
    for warning in resolved.warnings:
        say(f"warning: {warning}", "yellow")
