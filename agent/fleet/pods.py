"""Finds the pods of a fleet: by a list, or by the DNS name of a headless Service.

`by_api` finds them by the Kubernetes API.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from agent.errors import SettingsError, SourceDown

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH = "/fleet"


class Pod(NamedTuple):
    """One pod: its name for people, and the URL of its summary; empty if not known."""

    name: str
    url: str


def listed(urls: Iterable[str]) -> list[Pod]:
    """Return the pods at these addresses, for example http://10.0.0.7:19465."""
    return [addressed(url) for url in urls]


def addressed(url: str, name: str = "") -> Pod:
    """Return the pod whose agent's probes are at this URL."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise SettingsError(
            "an address of the fleet is not http(s)://HOST[:PORT]",
            "give the address that the agent's probes use, as http://10.0.0.7:19465",
        )
    base = url.rstrip("/").removesuffix(PATH)
    return Pod(name or parts.netloc, f"{base}{PATH}")


def resolved(service: str) -> list[Pod]:
    """Return the pods behind a headless Service, given as HOST:PORT.

    Its DNS name has one address for each pod. Give the Service
    `publishNotReadyAddresses: true`: a pod that is not ready may send, too.
    """
    host, _, port = service.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(
            "the Service of the fleet is not HOST:PORT",
            "give its DNS name and the port of the probes, as lms-agents:19465",
        )
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, OverflowError) as error:
        raise SourceDown(
            f"the Service of the fleet cannot be resolved ({error})",
            "check the name, and that the Service is headless (clusterIP: None)",
        ) from None
    hosts = sorted({str(address[0]) for *_, address in found})
    return [addressed(f"http://{bracketed(each)}:{port}") for each in hosts]


def bracketed(host: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
