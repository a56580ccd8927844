"""One request of a DSN check: a client report without entries.

The report makes no event and no issue, and uses no quota.
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
        status, body = post(url, headers, _envelope(), seconds, to_link_local=False)
        answer = answer_of(status, body)
        if answer == "none":
            raise OSError(f"status {status}")
        return answer

    return send


def _envelope() -> bytes:
    # The header has no DSN: a server would judge by it instead of by the request.
    sent_at = time_text(time.time(), "seconds")
    report = json.dumps({"timestamp": sent_at, "discarded_events": []})
    item = {"type": "client_report", "length": len(report)}
    lines = (json.dumps({"sent_at": sent_at}), json.dumps(item), report)
    return "\n".join((*lines, "")).encode()
