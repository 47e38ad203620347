"""`distill compare`: teacher, student before and student after, side by side."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from distill_client.answers import ComparedSide, Comparison
from distill_client.cli import formats
from distill_client.cli.app import JobId, JsonFlag, app, connect
from distill_client.cli.output import joined, styled, table, write, write_json, write_table
from distill_client.shapes import Json

NAMES = {"teacher": "teacher", "student_before": "student before", "student_after": "student after"}


@app.command()
def compare(
    ctx: typer.Context,
    job_id: JobId,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT…", help="Up to 16; of classifiers: texts.")],
    as_chat: Annotated[bool, typer.Option("--chat", help="Ask each prompt as a user's message of a chat.")] = False,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer (64).")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0, the likeliest, when absent.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Draws the answers where the temperature is not 0.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask a job's teacher, its student as it began, and its student the same."""
    asked: Sequence[Any] = [[{"role": "user", "content": prompt}] for prompt in prompts] if as_chat else prompts
    with connect(ctx) as client:
        found = client.jobs.compare(job_id, asked, max_tokens=max_tokens, temperature=temperature, seed=seed)
    write_json(found) if as_json else _show(found, prompts)


def _show(found: Comparison, prompts: Sequence[str]) -> None:
    for place, prompt in enumerate(prompts):
        write(joined(("\n> " if place else "> ", "bold cyan"), (prompt, "bold")))
        for side in found.sides:
            if place < len(side.answers):
                write(joined((f"{NAMES.get(side.role, side.role):<15}", "dim"), (_said(side.answers[place]), "")))
    write("")
    made = table("SIDE", "MODEL", "SPEED", "AGREES WITH TEACHER", right=("SPEED", "AGREES WITH TEACHER"))
    for side in found.sides:
        agreement = formats.percent(side.agreement) if side.agreement is not None else formats.ABSENT
        made.add_row(NAMES.get(side.role, side.role), styled(side.model or formats.ABSENT), _speed(side), agreement)
    write_table(made)
    for side in found.sides:
        if side.omitted:
            write(joined((f"{NAMES.get(side.role, side.role)}: ", "dim"), (side.omitted, "yellow")))


def _said(answer: Json) -> str:
    if "label" in answer:
        return f"{answer['label']} {formats.percent(answer['probability'])}"
    return str(answer["text"]).strip() + ("" if answer.get("finish_reason") == "stop" else " …")


def _speed(side: ComparedSide) -> str:
    if side.tokens_per_second is not None:
        return f"{formats.number(side.tokens_per_second, 0)} tokens/s"
    if side.examples_per_second is not None:
        return f"{formats.number(side.examples_per_second, 0)} texts/s"
    return formats.ABSENT
