"""What the operator sets, from environment variables that begin with DISTILL_. Everything has a default that works."""

import base64
import binascii
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _fernet_keys(written: SecretStr) -> SecretStr:
    for key in _split(written.get_secret_value()):
        try:
            is_key = len(base64.urlsafe_b64decode(key)) == 32
        except (binascii.Error, ValueError):
            is_key = False
        if not is_key:
            raise ValueError(
                "each key is 32 random bytes in URL-safe base64; docs/settings.md has the line that makes one"
            )
    return written


def _split(written: str) -> list[str]:
    return [part.strip() for part in written.split(",")]


def _servers(written: str) -> str:
    """`any`, `public`, `none`, or URLs; core/addresses reads them."""
    if written in ("any", "public", "none"):
        return written
    for part in _split(written):
        parts = urlsplit(part)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("write any, public, none, or http and https URLs without user and query")
    return written


def _json_object(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    try:
        found = json.loads(written or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("write a JSON object, such as {}")
    return found


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DISTILL_", extra="ignore", frozen=True, hide_input_in_errors=True)

    data: Path = Field(Path("distill-data"), description="Folder for everything that has no URL of its own.")
    database_url: SecretStr | None = Field(
        None, description="SQLite in the data folder when absent; postgresql+psycopg://… ."
    )
    broker_url: SecretStr | None = Field(
        None, description="redis://… ; `distill up` starts a Valkey of its own when absent."
    )
    storage_url: str | None = Field(
        None, description="file://, s3://, gs:// or az://; a folder in the data folder when absent."
    )

    host: str = Field(
        "127.0.0.1", description="Address that the service binds. Another than loopback needs an API key."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port that the service binds; 0 takes a free one.")
    hub: bool = Field(True, description="Whether org/name may be fetched from the model hub.")
    endpoints: Annotated[str, AfterValidator(_servers)] | None = Field(
        None,
        description="Servers that may teach: any, public, none, or URLs that they begin with, separated by commas.",
    )
    queues: str = Field("default", description="Queues that a worker serves, separated by commas.")
    ready_child: bool = Field(
        True, description="Whether a worker keeps one training process waiting with its imports done."
    )
    bootstrap_key: SecretStr | None = Field(
        None,
        description="An admin key (dk_…) stored at start-up when there is none yet; how a container gets its first.",
    )

    secret_key: Annotated[SecretStr, AfterValidator(_fernet_keys)] | None = Field(
        None,
        description="Encrypts secrets; a file in the data folder when absent and the database is there too.",
    )

    lease_seconds: float = Field(
        60.0, gt=0, description="A running job without a sign of life for so long is taken back."
    )
    stall_seconds: float = Field(
        1800.0,
        gt=0,
        description="A training that makes no step for so long gives up its lease; a request to a model, its process.",
    )
    sweep_seconds: float = Field(5.0, gt=0, description="How often the sweeper looks.")
    republish_seconds: float = Field(60.0, gt=0, description="A job still queued after so long is published again.")
    max_attempts: int = Field(
        3, ge=1, description="How often a job may lose its worker before it fails as worker_lost."
    )
    cancel_grace_seconds: float = Field(
        8.0, gt=0, description="How long a cancelled training may take to keep its checkpoint."
    )
    shutdown_grace_seconds: float = Field(25.0, gt=0, description="The same when the worker is told to stop.")

    cache_bytes: int = Field(
        20 << 30, ge=0, description="How much a worker keeps of what teachers said, for later jobs; 0 keeps nothing."
    )
    cache_seconds: float = Field(30 * 86_400.0, gt=0, description="What no job has used for so long is forgotten.")

    vllm_python: Path | None = Field(
        None, description="A Python that has vLLM, for jobs whose teachers write with it; the worker's own when absent."
    )
    vllm_options: Annotated[dict[str, Any], NoDecode, BeforeValidator(_json_object)] = Field(
        {}, description='JSON: what vLLM is told besides the model, such as {"tensor_parallel_size": 2}.'
    )

    serving_url: str | None = Field(
        None, description="Where `python -m serving` runs models; the service starts one of its own when absent."
    )
    serving_token: SecretStr | None = Field(
        None, description="What the service and `python -m serving` know each other by; needed beyond loopback."
    )
    serving_idle_seconds: float = Field(
        600.0,
        gt=0,
        description="A model that nobody asks leaves memory after so long, and the service's own process ends.",
    )
    serving_models: int = Field(3, ge=1, description="Most models in the serving process's memory.")
    serving_memory_bytes: int = Field(8 << 30, ge=1, description="Most bytes of all models in its memory together.")
    serving_concurrency: int = Field(2, ge=1, description="Requests to models that are worked on at the same time.")
    serving_queue: int = Field(32, ge=0, description="Requests to models that may wait; those beyond answer 429.")
    serving_max_tokens: int = Field(4096, ge=1, le=32_768, description="Most tokens that one text may have.")

    max_json_bytes: int = Field(1 << 20, ge=1, description="Largest JSON body.")
    max_dataset_bytes: int = Field(2 << 30, ge=1, description="Largest data set upload.")
    max_dataset_expanded_bytes: int = Field(8 << 30, ge=1, description="Largest data set once decompressed.")
    max_line_bytes: int = Field(8 << 20, ge=1, description="Longest line of a data set, or largest file of one image.")
    max_model_bytes: int = Field(20 << 30, ge=1, description="Largest model upload, packed.")
    max_model_expanded_bytes: int = Field(40 << 30, ge=1, description="Largest model once unpacked.")
    max_labels: int = Field(1000, ge=2, description="Most classes in one data set.")
    max_log_bytes: int = Field(10 << 20, ge=1, description="The newest bytes of a job's log that are kept.")

    @cached_property
    def database(self) -> str:
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data.resolve() / 'distill.sqlite3'}"

    @cached_property
    def broker(self) -> str:
        return self.broker_url.get_secret_value() if self.broker_url is not None else "redis://127.0.0.1:6379/0"

    @cached_property
    def storage(self) -> str:
        return self.storage_url or (self.data.resolve() / "blobs").as_uri()

    @cached_property
    def secret_keys(self) -> list[str]:
        """The first one encrypts, all of them decrypt."""
        return _split(self.secret_key.get_secret_value()) if self.secret_key is not None else []

    @cached_property
    def work(self) -> Path:
        """Scratch space of this machine: what it holds can be made again."""
        return self.data.resolve() / "work"

    @cached_property
    def cache(self) -> Path:
        """What teachers said, on this machine, for later jobs."""
        return self.data.resolve() / "cache"
