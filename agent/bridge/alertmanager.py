"""What is known of an Alertmanager beside its API: its addresses, and its clock."""

from __future__ import annotations

import email.utils
import socket
import time
from urllib.parse import urlsplit

NOISE_SECONDS = 2.0
"""A header tells whole seconds, and an answer takes its time."""


def seconds_ahead(date: str) -> float:
    """Return how far the other clock is ahead of ours; 0 if it is about the same.

    `date` is the header of an answer that came just now. An alert ends by the clock of the
    Alertmanager that has it, so each time that is sent there is a time of that clock.
    """
    try:
        ahead = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return 0.0
    return ahead if abs(ahead) > NOISE_SECONDS else 0.0


def addresses_of(url: str) -> list[str]:
    """Return the IP addresses that are to be told; one that is empty if the name decides.

    The name of a headless Service has an address for each replica. Replicas tell each other
    of silences and of notifications, but not of alerts: so each has to be told. A name with
    one address of each family is one Alertmanager.
    """
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError:
        return [""]  # a request says why
    family = found[0][0]
    addresses = sorted({str(each[4][0]) for each in found if each[0] == family})
    return addresses if len(addresses) > 1 else [""]
