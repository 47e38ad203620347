"""docker-compose.yml and Dockerfile agree with the code and hold no secret: what can be read without an engine."""

import re
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import pytest
import yaml
from obstore.exceptions import BaseError, UnknownConfigurationKeyError
from obstore.store import AzureStore, GCSStore, S3Store

from core.settings import Settings
from tests.architecture.tree import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))
OURS = {name for name, service in SERVICES.items() if "build" in service}
PARTS_OF_SETTING = {
    "host": {"service"},
    "port": {"service"},
    "bootstrap_key": {"service"},
    "serving_url": {"service"},
    "serving_token": {"service", "serving"},
    "queues": {"worker", "worker-gpu"},
    **dict.fromkeys(("database_url", "broker_url", "secret_key"), OURS - {"serving"}),
}
"""What not every part is given; all else is for all of ours."""
STORES = {"AWS": S3Store, "GOOGLE": GCSStore, "AZURE": AzureStore}


def test_all_parts_of_the_service_are_there() -> None:
    assert {"postgres", "redis", "migrate", "service", "worker", "worker-gpu", "sweeper", "serving"} <= set(SERVICES)
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["worker-gpu"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_part_says_how_its_health_is_seen(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check.get("test") or check == {"disable": True}
    if SERVICES[name].get("restart") == "no":
        assert check == {"disable": True}, "what ends is not healthy or ill"


def test_the_order_of_starting_waits_for_what_is_needed() -> None:
    for name in OURS:
        for needed, how in SERVICES[name]["depends_on"].items():
            ends = SERVICES[needed].get("restart") == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")
    assert "migrate" in SERVICES["service"]["depends_on"]
    assert all("service" in SERVICES[name]["depends_on"] for name in ("worker", "worker-gpu", "sweeper", "serving"))


def test_commands_name_modules_that_exist() -> None:
    commands = [service["command"] for name, service in SERVICES.items() if name in OURS]
    commands += [SERVICES[name]["healthcheck"].get("test", ["CMD"])[1:] for name in OURS]
    commands += [re.findall(r'"([^"]*)"', line) for line in re.findall(r"^.*CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)]
    modules = [command[2] for command in commands if command[:2] == ["python", "-m"]]
    assert len(modules) >= 8
    assert [module for module in modules if find_spec(module) is None] == []


def test_no_secret_is_written_down() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|KEY|SECRET|TOKEN", variable) or "://" in str(value):
                bare = re.sub(r"\$\{[A-Z_]+:[?-][^}]*\}", "", str(value))
                assert not re.search(r":[^/@]+@", bare), f"{name}: {variable}"
            # Without a value a variable is passed on from whoever starts it.
            if re.search(r"PASSWORD|KEY|SECRET|TOKEN", variable) and value is not None:
                assert re.fullmatch(r"\$\{[A-Z_]+:[?-][^}]*\}", value), f"{name}: {variable}"


@pytest.mark.parametrize(
    "secret",
    ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "DISTILL_BOOTSTRAP_KEY", "DISTILL_SECRET_KEY", "DISTILL_SERVING_TOKEN"],
)
def test_without_a_secret_nothing_starts_and_the_guide_makes_each(secret: str) -> None:
    assert f"${{{secret}:?" in (ROOT / "docker-compose.yml").read_text()
    assert f"{secret}=" in (ROOT / "docs" / "operations.md").read_text()


def test_every_setting_that_is_given_exists() -> None:
    known = {f"DISTILL_{name.upper()}" for name in Settings.model_fields}
    given = {
        name for service in SERVICES.values() for name in service.get("environment", {}) if name.startswith("DISTILL_")
    }
    assert given <= known
    assert set(re.findall(r"DISTILL_[A-Z_]+(?==)", DOCKERFILE)) <= known


@pytest.mark.parametrize("part", sorted(OURS))
def test_every_setting_reaches_the_parts_that_read_it_and_no_other(part: str) -> None:
    given = {name for name in SERVICES[part]["environment"] if name.startswith("DISTILL_")}
    assert given == {
        f"DISTILL_{name.upper()}" for name in Settings.model_fields if part in PARTS_OF_SETTING.get(name, OURS)
    }


def test_a_store_s_credentials_and_the_proxy_reach_all_of_ours_and_the_hub_s_token_the_workers_alone() -> None:
    passed_on = {
        part: {name for name, value in SERVICES[part]["environment"].items() if value is None} for part in OURS
    }
    foreign = {part: {name for name in names if not name.startswith("DISTILL_")} for part, names in passed_on.items()}
    assert {"AWS_SESSION_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY", "AZURE_STORAGE_ACCOUNT_KEY"} < foreign["serving"]
    assert {"HTTPS_PROXY", "NO_PROXY"} < foreign["serving"]
    for part, names in foreign.items():
        assert names - foreign["serving"] == ({"HF_TOKEN"} if part.startswith("worker") else set()), part


@pytest.mark.parametrize("name", [name for name in SERVICES["serving"]["environment"] if name.split("_")[0] in STORES])
def test_a_store_knows_the_names_that_are_passed_to_it(name: str) -> None:
    """It reads from the environment what it takes as configuration, in capitals."""
    with suppress(BaseError):
        try:
            STORES[name.split("_")[0]]("bucket", config={name.lower(): "x"})
        except UnknownConfigurationKeyError:
            pytest.fail(f"{name} is none of its names")


def test_volumes_are_declared_and_each_is_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_images_are_built_from_stages_that_exist() -> None:
    for name in OURS:
        assert SERVICES[name]["build"]["target"] in STAGES
    for stage, copied in re.findall(r"COPY --from=(\S+) (\S+)", DOCKERFILE):
        assert stage in STAGES
        assert copied == "/opt/distill"


def test_the_service_image_has_no_torch() -> None:
    assert "torch" not in STAGES["service"] + STAGES["build-service"] + STAGES["build"] + STAGES["bare"]
    assert "COPY worker" not in STAGES["build-service"]
    assert "torch==2.13.0" in STAGES["build-worker"]
    assert "torch==2.13.0" in STAGES["build-worker-gpu"]


@pytest.mark.parametrize("image", ["service", "worker", "worker-gpu", "serving"])
def test_no_image_runs_as_root_and_each_has_a_health_check(image: str) -> None:
    assert re.search(r"^USER distill$", STAGES[image], re.MULTILINE)
    assert "HEALTHCHECK" in STAGES[image]
    assert STAGES[image].index("COPY") < STAGES[image].index("USER"), "the code is root's, and so not its own to change"


def test_what_is_copied_is_let_through_to_the_engine() -> None:
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_pip_always_has_the_constraints() -> None:
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert len(installs) == 6
    assert all("--constraint constraints.txt" in install for install in installs)
