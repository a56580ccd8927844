"""An API server with a namespace that takes restricted pods only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from manifests import K8S

from lab.apiserver import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "shop"


@contextlib.contextmanager
def restricted() -> Iterator[ApiServer]:
    """Run the server. The namespace holds the objects of k8s/base."""
    with ApiServer() as started:
        started.kubectl("create", "namespace", NAMESPACE)
        enforced = "pod-security.kubernetes.io/enforce=restricted"
        started.kubectl("label", "namespace", NAMESPACE, enforced)
        started.kubectl("create", "serviceaccount", "default", f"-n{NAMESPACE}")
        started.kubectl("apply", "-k", str(K8S / "base"), f"-n{NAMESPACE}")
        yield started
