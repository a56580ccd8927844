"""Finds the pods of a fleet by the Kubernetes API: those of a namespace, by their labels.

The client is lightkube, of the extra `kubernetes`. The sidecar's image does not have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from agent.errors import SettingsError, SourceDenied, SourceDown
from agent.fleet.pods import Pod, addressed, bracketed

if TYPE_CHECKING:
    from lightkube.models.core_v1 import PodStatus
    from lightkube.resources.core_v1 import Pod as ApiPod

SCHEME = "k8s://"
SECONDS = 10.0
"""The limit of one request to the API server."""
AT_ONCE = 250
"""The pods of one answer: each is some kilobytes, and few of them are needed."""
_ENDED = ("Succeeded", "Failed")
_ROLE = "give this account the Role of k8s/rotation/by-api: it may list pods"


class Selection(NamedTuple):
    """The pods of a namespace that have all of these labels, and the port of their probes."""

    namespace: str
    port: int
    labels: dict[str, str]


def selection(address: str) -> Selection:
    """Read k8s://NAMESPACE:PORT?LABEL=VALUE&LABEL=VALUE, or raise `SettingsError`."""
    try:
        parts = urlsplit(address)
        namespace, port = parts.hostname, parts.port
        pairs = parse_qsl(parts.query, strict_parsing=True)
    except ValueError:
        namespace, port, pairs = None, None, []
    if not namespace or not port or not pairs or parts.path or parts.username:
        raise SettingsError(
            "an address of the fleet is not k8s://NAMESPACE:PORT?LABEL=VALUE",
            "name the namespace, the port of the agents' probes and at least one label, as "
            "k8s://shop:19465?resentry=sidecar",
        )
    return Selection(namespace, port, dict(pairs))


def selected(address: str) -> list[Pod]:
    """Return the pods that may run a process now, as the API server knows them.

    A pod that has ended, or has no node yet, runs no process. A pod that is on a node and
    has no address is one that will not answer. Raises `AgentError`.
    """
    return _list(selection(address))


def _list(chosen: Selection) -> list[Pod]:
    try:
        from httpx2 import HTTPError  # noqa: PLC0415 - an extra
        from lightkube import ApiError, Client, ConfigError  # noqa: PLC0415
        from lightkube.resources.core_v1 import Pod as Kind  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "this installation cannot ask the Kubernetes API for the pods of the fleet",
            "use the image resentry-agent-tools, or install resentry-agent[kubernetes]",
        ) from None
    try:
        # A new client each time: the token of the account is renewed in its file.
        with Client() as client:
            pods = client.list(
                Kind,
                namespace=chosen.namespace,
                labels={**chosen.labels},
                chunk_size=AT_ONCE,
            )
            return [_pod(pod, chosen.port) for pod in pods if _may_run(pod, pod.status)]
    except ConfigError as error:
        raise SettingsError(
            f"there is no way to the Kubernetes API ({error})",
            "run this in a pod with its account's token, or set KUBECONFIG",
        ) from None
    except ApiError as error:
        status = error.response.status_code
        what = f"the Kubernetes API does not list the pods of {chosen.namespace} ({status})"
        if status in {401, 403}:
            raise SourceDenied(what, _ROLE) from None
        raise SourceDown(what) from None
    except (HTTPError, OSError) as error:
        raise SourceDown(
            f"the Kubernetes API does not answer ({type(error).__name__})",
            "check the network between this pod and the API server",
        ) from None
    except (ValueError, LookupError) as error:  # lightkube's, of a foreign answer
        raise SourceDown(
            f"what answers is not the Kubernetes API ({type(error).__name__})",
            "check for a proxy between this pod and the API server",
        ) from None


def _may_run(pod: ApiPod, status: PodStatus | None) -> bool:
    if pod.spec is not None and not pod.spec.nodeName:
        return False
    if status is None or status.phase not in _ENDED:
        return True
    # The phase of a pod on a node that was lost is set by others than the node.
    containers = [
        *(status.containerStatuses or ()),
        *(status.initContainerStatuses or ()),
    ]
    return any(each.state and each.state.running for each in containers)


def _pod(pod: ApiPod, port: int) -> Pod:
    name = (pod.metadata and pod.metadata.name) or "?"
    host = pod.status and pod.status.podIP
    return (
        addressed(f"http://{bracketed(host)}:{port}", name) if host else Pod(name, "")
    )
