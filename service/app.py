"""The application: routes and the layers around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from core.blobs import Blobs
from core.database import Database
from core.settings import Settings
from service import docs, health
from service.api_keys import endpoints as api_keys
from service.artifacts import endpoints as artifacts
from service.auth import Authentication
from service.datasets import endpoints as datasets
from service.deps import Service
from service.errors import answer_to
from service.inference import classifying
from service.inference import endpoints as inference
from service.jobs import comparing, following
from service.jobs import endpoints as jobs
from service.limits import BodyLimits
from service.measures import Measures
from service.models import endpoints as models
from service.observation import Observation
from service.openapi import describe
from service.queue import Queue
from service.secrets import endpoints as secrets
from service.serving.forwarding import Serving
from service.sweeps import endpoints as sweeps
from service.system import endpoints as system
from service.uploads import remove_left_over

DESCRIPTION = (
    "Makes small models out of large ones. POST /v1/datasets and /v1/models, then POST /v1/jobs; "
    "`loss = alpha * T^2 * KL(teacher || student) + (1 - alpha) * CE`."
)
ROUTERS = (
    jobs,
    following,
    sweeps,
    comparing,
    artifacts,
    datasets,
    models,
    classifying,
    inference,
    secrets,
    api_keys,
    system,
    health,
    docs,
)


def create_app(settings: Settings) -> FastAPI:
    """Return the application for `settings`. The database must be at the newest revision."""
    service = Service(
        settings,
        Database(settings.database),
        Blobs(settings.storage),
        Queue(settings.broker),
        Measures(),
        Serving(settings),
    )
    app = FastAPI(
        title="Distillation service",
        version=version("distillation-service"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
        separate_input_output_schemas=True,
        redirect_slashes=False,
    )
    app.state.service = service
    for module in ROUTERS:
        app.include_router(module.router)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    # The last that is added is the outermost.
    uploads = {"/v1/datasets": settings.max_dataset_bytes, "/v1/models": settings.max_model_bytes}
    app.add_middleware(BodyLimits, json_bytes=settings.max_json_bytes, uploads=uploads)
    app.add_middleware(Authentication, database=service.database, host=settings.host)
    app.add_middleware(Observation, measures=service.measures)
    describe(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    remove_left_over(service.settings.work)
    yield
    await service.serving.close()
    service.queue.close()
    service.database.close()


async def _answer(request: Request, error: Exception) -> Response:
    return answer_to(error, request.scope)
