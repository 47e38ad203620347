"""A teacher behind an endpoint: a server that speaks OpenAI's protocol, and what may be spent on it."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, HttpUrl, TypeAdapter, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from core.errors import JobFailed
from core.methods import Count, Fraction, Frozen, NotNegative, Positive, ShortText
from core.references import Name

_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)
TOKENS_OF_PRICE = 1_000_000


def canonical_url(written: str) -> str:
    """Return a URL as browsers understand it: a host in decimal, octal or look-alike digits becomes the address it is.

    Raises:
        ValueError: it is no http or https URL, or has a part that a server's address has not.
    """
    try:
        url = _URL.validate_python(written)
    except ValidationError:
        raise ValueError("it is no http or https URL") from None
    if url.username is not None or url.password is not None:
        raise ValueError("it holds a user or password; POST /v1/secrets is the place for what opens a server")
    if url.query is not None or url.fragment is not None:
        raise ValueError("it ends in a query or fragment")
    return str(url).rstrip("/")


def _base_url(written: str) -> str:
    try:
        return canonical_url(written)
    except ValueError as error:
        raise PydanticCustomError("invalid_base_url", "base_url: {reason}", {"reason": str(error)}) from None


BaseUrl = Annotated[
    str,
    AfterValidator(_base_url),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": 2083}),
]


class BudgetSpec(Frozen):
    """What the teacher may cost. A request is sent only while the most that it could use still fits; then the job goes
    on with the texts that are there. Prices and cost are in one currency, whichever it is."""

    max_tokens: Count | None = Field(None, description="Prompt and completion tokens together.")
    max_requests: Count | None = Field(None, description="Every attempt counts, failed ones too.")
    max_cost: Positive | None = None
    """In the currency of the prices."""
    price_per_million_prompt_tokens: NotNegative | None = None
    """What a million tokens cost that are asked."""
    price_per_million_completion_tokens: NotNegative | None = None
    """What a million tokens cost that are written."""

    @model_validator(mode="after")
    def _cost_needs_prices(self) -> Self:
        prices = (self.price_per_million_prompt_tokens, self.price_per_million_completion_tokens)
        if (prices[0] is None) != (prices[1] is None) or (self.max_cost is not None and None in prices):
            raise PydanticCustomError(
                "budget_without_price", "max_cost needs both prices, and one price needs the other"
            )
        return self

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """Return what tokens cost, or None without prices."""
        prompt, completion = self.price_per_million_prompt_tokens, self.price_per_million_completion_tokens
        if prompt is None or completion is None:
            return None
        return (prompt_tokens * prompt + completion_tokens * completion) / TOKENS_OF_PRICE


class EndpointSpec(Frozen):
    """An OpenAI-compatible server: vLLM, llama.cpp, a vendor. It shows texts, and of its probabilities at most some."""

    base_url: BaseUrl = Field(description="What `/chat/completions` is appended to; it often ends in /v1.")
    model: ShortText = Field(description="As the server calls it.")
    secret: Name | None = Field(None, description="The name of a secret at /v1/secrets, sent as bearer token.")
    concurrency: Annotated[Count, Field(le=256)] = Field(8, description="Requests in flight at once, at most.")
    timeout_seconds: Annotated[Positive, Field(le=3600)] = Field(120.0, description="For one answer to be whole.")
    max_retries: Annotated[int, Field(strict=True, ge=0, le=20)] = Field(
        5, description="After no answer, an unusable one, or status 408, 409, 425, 429 or 5xx, with growing pauses."
    )
    min_success_ratio: Fraction = Field(
        0.95, description="The job fails once more than the rest of its texts got no answer."
    )
    budget: BudgetSpec = BudgetSpec()
    """What it may cost."""
    logprobs: Annotated[Count, Field(le=100)] | None = Field(
        None,
        description="Ask for so many of the likeliest tokens at each place of a text, and let the student match them "
        "too, by alpha. The student must have the server's tokens, and the server say their ids.",
    )


class EndpointTeacher(Frozen):
    """A black-box teacher: it writes, and nobody sees its weights."""

    endpoint: EndpointSpec
    """The server."""


# Why a job with such a teacher can fail


class EndpointNotAllowed(JobFailed):
    code, title, blame = "endpoint_not_allowed", "Endpoint not allowed", "user"
    hint = "Ask the operator to allow the server in DISTILL_ENDPOINTS, or upload the teacher's weights."

    def __str__(self) -> str:
        return f"{self.args[0]} may not be called: {self.args[1]}"


class TeacherUnreachable(JobFailed):
    """The server of a teacher gives no answer."""

    code, title, blame = "teacher_unreachable", "Teacher not reached", "teacher"
    hint = "Check that the server runs and that teacher.endpoint.base_url leads to it; then POST /v1/jobs/{id}/retry."

    def __str__(self) -> str:
        return f"the teacher at {self.args[0]} gives no usable answer: {self.args[1]}"


class TeacherRefused(JobFailed):
    """The server of a teacher answers, and refuses what it is asked."""

    code, title, blame = "teacher_refused", "Teacher refuses", "teacher"
    hint = (
        "Check teacher.endpoint.model and .secret, and what method.generation asks for; the server's words say which."
    )

    def __str__(self) -> str:
        return f"the teacher at {self.args[0]} refuses: {self.args[1]}"


class NoLogprobs(JobFailed):
    """A teacher's server was asked for its likeliest tokens and does not tell them, or not which tokens they are."""

    code, title, blame = "no_logprobs", "Teacher tells no logprobs", "teacher"
    hint = "Leave teacher.endpoint.logprobs out, or use a server that tells token ids: vLLM, llama.cpp, this service."

    def __str__(self) -> str:
        return f"the teacher at {self.args[0]} does not tell its likeliest tokens: {self.args[1]}"


class TeacherFailing(JobFailed):
    """Too many of the texts that a teacher was asked for never came."""

    code, title, blame = "teacher_failing", "Too many texts failed", "teacher"
    hint = (
        "POST /v1/jobs/{id}/retry asks again for those that failed alone; or lower teacher.endpoint.min_success_ratio."
    )

    def __str__(self) -> str:
        failed, whole, reasons = self.args
        return f"{failed:,} of {whole:,} texts failed, more than min_success_ratio allows: {reasons}"
