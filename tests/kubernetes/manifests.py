"""The built manifests, and what finds its way in them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lab import kustomize
from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable

K8S = REPOSITORY / "k8s"
OVERLAYS = sorted(folder.name for folder in (K8S / "overlays").iterdir())
WITH_AGENT = [name for name in OVERLAYS if name != "lms"]
AGENT = "resentry-agent"

Object = dict[str, Any]


@cache
def overlay(name: str) -> list[Object]:
    return kustomize.build(K8S / "overlays" / name)


def workloads(objects: Iterable[Object]) -> list[Object]:
    return [found for found in objects if "template" in found.get("spec", {})]


def pod(workload: Object) -> Object:
    found: Object = workload["spec"]["template"]["spec"]
    return found


def containers(workload: Object) -> list[Object]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def named(objects: Iterable[Object], name: str) -> Object:
    (found,) = (one for one in objects if one.get("name") == name)
    return found


def agent(workload: Object) -> Object:
    return named(containers(workload), AGENT)
