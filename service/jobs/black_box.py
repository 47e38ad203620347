"""What can be known of a teacher behind an endpoint without calling it: its secret, its address, what it may cost."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from core.addresses import Reach, is_loopback
from core.endpoints import EndpointNotAllowed, EndpointSpec
from core.errors import SecretNotFound
from core.secrets import Secrets
from core.spec import JobSpec
from service.jobs.faults import fault
from service.problems import Fault

PLACE = ("teacher", "endpoint")


def endpoint_faults(session: Session, owner: str, spec: JobSpec, reach: Reach) -> Iterator[Fault]:
    """Yield what speaks against a job's endpoint; nothing where its teachers have weights."""
    endpoint = spec.endpoint
    if endpoint is None:
        return
    why = reach.why_not(endpoint.base_url)
    if why is not None:
        refusal = EndpointNotAllowed(endpoint.base_url, why)
        yield fault([*PLACE, "base_url"], refusal.code, str(refusal), refusal.hint)
    if endpoint.secret is not None and Secrets(session, owner).find(endpoint.secret) is None:
        missing = SecretNotFound(endpoint.secret)
        yield fault([*PLACE, "secret"], missing.code, str(missing), missing.hint)
    if (limit := _limit_below_one_text(spec, endpoint)) is not None:
        detail = f"{limit} does not suffice for one text of method.generation.max_new_tokens"
        yield fault([*PLACE, "budget", limit], "budget_too_small", detail)


def endpoint_warnings(spec: JobSpec) -> list[str]:
    """Return what the owner should know of the endpoint."""
    if spec.endpoint is None:
        return []
    server = urlsplit(spec.endpoint.base_url)
    if server.scheme == "https" or is_loopback(server.hostname or ""):
        return []
    what = "prompts, texts and the secret" if spec.endpoint.secret else "prompts and texts"
    return [f"{server.hostname} is asked over http, so {what} can be read on the way; use https where you can."]


def cost_at_most(spec: JobSpec, prompts: int, tokens_per_prompt: float) -> float | None:
    """Return what the teacher costs if each text is as long as it may be, capped by the budget; None without prices."""
    if spec.endpoint is None or spec.method.type != "sequence":
        return None
    generation, budget = spec.method.generation, spec.endpoint.budget
    texts = prompts * generation.samples_per_prompt
    cost = budget.cost(texts * tokens_per_prompt, texts * generation.max_new_tokens)
    return cost if cost is None or budget.max_cost is None else min(cost, budget.max_cost)


def _limit_below_one_text(spec: JobSpec, endpoint: EndpointSpec) -> str | None:
    if spec.method.type != "sequence":
        return None
    tokens, budget = spec.method.generation.max_new_tokens, endpoint.budget
    if budget.max_tokens is not None and budget.max_tokens <= tokens:
        return "max_tokens"
    cost = budget.cost(0, tokens)
    return "max_cost" if cost is not None and budget.max_cost is not None and budget.max_cost < cost else None
