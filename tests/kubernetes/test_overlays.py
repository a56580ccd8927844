"""What holds of every overlay."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from manifests import (
    AGENT,
    OVERLAYS,
    WITH_AGENT,
    Object,
    agent,
    containers,
    overlay,
    pod,
    workloads,
)

from agent.settings import load
from agent.settings.parse import Address
from agent.source.login import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("kubectl")]

SECRET_NAMES = re.compile(r"TOKEN$|SECRET_ID$|PASSWORD|DSN$|API_KEY|NOTIFY_HEADERS")
SECRET_VALUES = re.compile(
    r"\bhv[sbr]\.|\bs\.[A-Za-z0-9]{20,}|\beyJ[\w-]{10,}|[0-9a-f]{32}|-----BEGIN|//[^/\s]*:[^/\s]*@"
)


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_object_holds_a_secret(name: str) -> None:
    """No Secret with content, no variable that is one, no text that looks like one."""
    for built in overlay(name):
        assert built["kind"] != "Secret"
        for path, text in strings(built):
            assert not SECRET_VALUES.search(text), path
        for key in literals(built):
            assert not SECRET_NAMES.search(key), key


@pytest.mark.parametrize(
    "text",
    [
        "hvs.CAESIJlU02LQZq",
        "https://0123456789abcdef0123456789abcdef@sentry.io/1",
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9",
        "redis://user:word@redis:6379/0",
    ],
)
def test_a_secret_would_be_seen(text: str) -> None:
    """The pattern knows tokens, DSNs, JWTs and passwords in addresses."""
    assert SECRET_VALUES.search(text)


@pytest.mark.parametrize("name", WITH_AGENT)
def test_the_agent_understands_its_settings(name: str) -> None:
    """Each variable is a setting, and none is missing that the login needs."""
    objects = overlay(name)
    configured = {
        one["metadata"]["name"]: one["data"]
        for one in objects
        if one["kind"] == "ConfigMap"
    }
    for workload in workloads(objects):
        environ: dict[str, str] = {}
        for source in agent(workload)["envFrom"]:
            name_of_map = source["configMapRef"]["name"]
            assert name_of_map in configured or source["configMapRef"]["optional"]
            environ |= configured.get(name_of_map, {})
        for variable in agent(workload)["env"]:
            environ[variable["name"]] = variable.get("value", "from elsewhere")

        loaded = load({}, environ)
        settings = loaded.settings
        assert not loaded.warnings
        (app,) = (one for one in pod(workload)["containers"] if one["name"] != AGENT)
        named = {one["name"]: one.get("value") for one in app["env"]}
        assert environ["RESENTRY_ENVIRONMENT"] == named["ENVIRONMENT"]
        assert settings.probes_listen == Address("$(POD_IP)", 19465)
        if not settings.source_path:
            assert not missing(settings)
            assert settings.vault_addr
            assert settings.vault_paths


def literals(built: Object) -> Iterator[str]:
    """Name the variables whose values stand in the object itself."""
    if built["kind"] == "ConfigMap":
        yield from built["data"]
    for workload in workloads([built]):
        for container in containers(workload):
            for variable in container.get("env", []):
                if "value" in variable:
                    yield variable["name"]


def strings(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from strings(inner, f"{path}/{number}")
    elif isinstance(value, str):
        yield path, value
