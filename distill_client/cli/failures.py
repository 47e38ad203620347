"""Errors as a user reads them: what happened, where, what to do next."""

from distill_client.cli.output import err, joined, say
from distill_client.errors import ApiError, ClientError, FilesInTheWay, ServerUnreachable


class CommandFailed(ClientError):
    """A command found something wrong on this side: a file that is not there, a folder in the way."""

    def __init__(self, detail: str, hint: str | None = None) -> None:
        super().__init__(detail, hint)
        self.detail, self.hint = detail, hint

    def __str__(self) -> str:
        return self.detail


def explain(error: ClientError) -> None:
    """Write an error to stderr."""
    _line("error", error.detail if isinstance(error, ApiError) else str(error), "bold red")
    if isinstance(error, ApiError):
        _explain_answer(error)
    elif isinstance(error, CommandFailed) and error.hint:
        _line("hint", error.hint, "cyan")
    elif isinstance(error, FilesInTheWay):
        _line("hint", "choose another folder with --to, or replace them with --force", "cyan")
    elif isinstance(error, ServerUnreachable):
        _line("hint", "start one with `distill up`, or point DISTILL_URL (or --url) at a running one", "cyan")


def explain_system_error(error: OSError | UnicodeError) -> None:
    """Write what the operating system refused, or a text in other characters than these, to stderr."""
    if not isinstance(error, OSError):
        _line("error", f"a text cannot be read or written as it is: {error}", "bold red")
        return
    said = (error.strerror or str(error) or type(error).__name__).lower()
    places = [str(place) for place in (error.filename, error.filename2) if place is not None]
    _line("error", f"{', '.join(places)}: {said}" if places else said, "bold red")


def _explain_answer(error: ApiError) -> None:
    for fault in error.faults:
        # A single fault without a place of its own has been said already.
        if fault.pointer or fault.line is not None or fault.detail != error.detail:
            say(f"  {fault.place}: {fault.detail}")
    hints = [fault.hint for fault in error.faults if fault.hint] or ([error.hint] if error.hint else [])
    if not hints and error.status == 401:
        hints = ["set DISTILL_API_KEY, or pass --api-key"]
    for hint in dict.fromkeys(hints):
        _line("hint", hint, "cyan")
    if error.request_id:
        _line("request", error.request_id, "dim")


def _line(label: str, text: str, style: str) -> None:
    err.print(joined((f"{label}: ", style), (text, "")), soft_wrap=True)
