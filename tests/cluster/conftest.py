"""A Kubernetes cluster for all tests: a node of our own, or the user's cluster.

The user's it is with RESENTRY_TEST_IMAGE, the agent's image as that cluster knows it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from lab.cluster import ADDRESS, Cluster, missing
from lab.images import (
    AGENT,
    EXAMPLE,
    TOOLS,
    agent_image,
    example_image,
    obstacle,
    tools_image,
)
from lab.kubectl import Kubectl
from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = REPOSITORY / "bench" / "results" / "cluster.json"
IMAGE = "RESENTRY_TEST_IMAGE"
TOOLS_IMAGE = "RESENTRY_TEST_TOOLS_IMAGE"
MUST = "RESENTRY_TEST_CLUSTER"
"""Set by `make cluster-test`: a reason not to run is a failure, and figures are kept."""

Figures = dict[str, dict[str, Any]]


class Place(NamedTuple):
    """A cluster, the address at which its pods reach this machine, and the images.

    `tools` is empty if your cluster has no image of operators' commands.
    """

    cluster: Kubectl
    host: str
    images: tuple[str, str]
    tools: str


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    if image := os.environ.get(IMAGE):
        example = os.environ.get("RESENTRY_TEST_EXAMPLE_IMAGE")
        yours = Kubectl(shutil.which("kubectl") or "kubectl", os.environ["KUBECONFIG"])
        images = image, example or image.replace("agent", "example")
        host = os.environ.get("RESENTRY_TEST_HOST") or _address_towards(yours)
        yield Place(yours, host, images, os.environ.get(TOOLS_IMAGE, ""))
        return
    if why := missing() or obstacle():
        (pytest.fail if os.environ.get(MUST) else pytest.skip)(why)
    # Before the node: in its network there is no package index.
    archives = agent_image(), example_image(), tools_image()
    with Cluster() as cluster:
        for archive in archives:
            cluster.load(archive)
        yield Place(cluster, ADDRESS, (AGENT.tag, EXAMPLE.tag), TOOLS.tag)


def _address_towards(cluster: Kubectl) -> str:
    """Return the address that this machine has on its way to the cluster."""
    view = json.loads(cluster.kubectl("config", "view", "--minify", "-o", "json"))
    server = urlsplit(view["clusters"][0]["cluster"]["server"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, server.port or 443))
        return str(probe.getsockname()[0])


@pytest.fixture
def namespace(place: Place) -> Iterator[str]:
    """A namespace of one test."""
    name = f"resentry-test-{random.randrange(1 << 32):08x}"
    place.cluster.kubectl("create", "namespace", name)
    yield name
    place.cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def figures(place: Place, pytestconfig: pytest.Config) -> Iterator[Figures]:
    """What is measured, by overlay; printed at the end, and kept."""
    found: Figures = {"measured": _conditions(place.cluster)}
    pytestconfig.stash[_FIGURES] = found
    yield found
    if os.environ.get(MUST) and not os.environ.get(IMAGE):
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def _conditions(cluster: Kubectl) -> dict[str, Any]:
    (node, *_) = cluster.get("nodes")["items"]
    about = node["status"]["nodeInfo"]
    return {
        "kubernetes": about["kubeletVersion"],
        "runtime": about["containerRuntimeVersion"],
        "cpus": node["status"]["capacity"]["cpu"],
    }


_FIGURES = pytest.StashKey[Figures]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was measured."""
    for overlay, found in config.stash.get(_FIGURES, {}).items():
        terminalreporter.section(f"cluster: {overlay}")
        for name, value in found.items():
            terminalreporter.write_line(f"{name.replace('_', ' '):20} {value}")
