"""Sends an envelope to the server of a DSN.

That of a DSN check is a client report without entries. It makes no event and no issue, and
uses no quota.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.domain.dsn_check import Answer, answer_of
from agent.web import post
from resentry.contract import time_text
from resentry.values import split_dsn

if TYPE_CHECKING:
    from collections.abc import Callable


def check_sender(user_agent: str) -> Callable[[str, float], Answer]:
    """Return the function that sends one envelope to the address in the DSN.

    It raises `OSError` with the reason if there is no answer that tells anything.
    """

    def send(dsn: str, seconds: float) -> Answer:
        status, body = post_envelope(user_agent, dsn, _report(), seconds)
        answer = answer_of(status, body)
        if answer == "none":
            raise OSError(f"status {status}")
        return answer

    return send


def post_envelope(
    user_agent: str, dsn: str, envelope: bytes, seconds: float
) -> tuple[int, bytes]:
    """Send an envelope to the address in the DSN, and return what `agent.web.post` does."""
    parts, key = urlsplit(dsn), split_dsn(dsn).key
    prefix, _, project = parts.path.rpartition("/")
    host = parts.netloc.rpartition("@")[2]
    headers = {
        "User-Agent": user_agent,
        "Content-Type": "application/x-sentry-envelope",
        "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_client={user_agent}, "
        f"sentry_key={key}",
    }
    url = f"{parts.scheme}://{host}{prefix}/api/{project}/envelope/"
    return post(url, headers, envelope, seconds, to_link_local=False)


def _report() -> bytes:
    # The header has no DSN: a server would judge by it instead of by the request.
    sent_at = time_text(time.time(), "seconds")
    report = json.dumps({"timestamp": sent_at, "discarded_events": []})
    item = {"type": "client_report", "length": len(report)}
    lines = (json.dumps({"sent_at": sent_at}), json.dumps(item), report)
    return "\n".join((*lines, "")).encode()
