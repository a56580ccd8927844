"""A bridge as a process, and Sentry's part: webhooks, signed as Sentry signs them.

The bodies have the form of docs.sentry.io, "Integration Platform, Webhooks".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import requests

from lab.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SECRET = "the-client-secret-of-a-test"


def event_alert(
    issue: str = "1117540176",
    rule: str = "Very Important Alert Rule!",
    event: str = "",
    **fields: Any,
) -> dict[str, Any]:
    """Return the body of `event_alert`, with what the bridge must never forward."""
    event_id = event or uuid.uuid4().hex
    base = "https://sentry.io"
    return {
        "action": "triggered",
        "actor": {"id": "sentry", "name": "Sentry", "type": "application"},
        "data": {
            "event": {
                "culprit": "lms.enrol in submit",
                "datetime": "2026-11-29T10:00:00.000000Z",
                "event_id": event_id,
                "exception": {
                    "values": [{"type": "ValueError", "value": "Ada's mark"}]
                },
                "issue_id": issue,
                "issue_url": f"{base}/api/0/issues/{issue}/",
                "level": "error",
                "metadata": {"type": "ValueError", "value": "Ada's mark"},
                "platform": "python",
                "project": 1,
                "release": "lms@1.2.3",
                "request": {
                    "headers": [["Cookie", "session=abc"]],
                    "data": {"mark": 5},
                },
                "tags": [["environment", "production"], ["user", "ip:10.1.2.3"]],
                "title": "ValueError: Ada's mark",
                "url": f"{base}/api/0/projects/school/lms/events/{event_id}/",
                "user": {"email": "ada@example.com", "ip_address": "10.1.2.3"},
                "web_url": f"{base}/organizations/school/issues/{issue}/events/{event_id}/",
                **fields,
            },
            "triggered_rule": rule,
        },
        "installation": {"uuid": "a8e5d37a-696c-4c54-adb5-b3f28d64c7de"},
    }


def issue(number: str = "1117540176", action: str = "resolved") -> dict[str, Any]:
    """Return the body of `issue`."""
    return {
        "action": action,
        "actor": {"id": "7", "name": "Ada", "type": "user"},
        "data": {
            "issue": {
                "id": number,
                "shortId": "LMS-9",
                "title": "ValueError: Ada's mark",
                "level": "error",
                "status": "unresolved" if action == "created" else action,
                "project": {"id": "1", "name": "lms", "slug": "lms"},
            }
        },
        "installation": {"uuid": "a8e5d37a-696c-4c54-adb5-b3f28d64c7de"},
    }


def metric_alert(action: str = "critical", rule: str = "7") -> dict[str, Any]:
    """Return the body of `metric_alert`."""
    return {
        "action": action,
        "actor": {"id": "sentry", "name": "Sentry", "type": "application"},
        "data": {
            "description_text": "1000 events in the last 10 minutes\nFilter: level:error",
            "description_title": f"{action.title()}: Too many errors",
            "metric_alert": {
                "alert_rule": {
                    "aggregate": "count()",
                    "environment": None,
                    "id": rule,
                    "name": "Too many errors",
                    "projects": ["lms"],
                    "triggers": [],
                },
                "id": "4",
                "identifier": "1",
                "projects": ["lms"],
                "status": 2,
                "title": "Sacred Marmot",
            },
            "web_url": "https://sentry.io/organizations/school/alerts/1/",
        },
        "installation": {"uuid": "a8e5d37a-696c-4c54-adb5-b3f28d64c7de"},
    }


def headers(
    resource: str, body: bytes, secret: str = SECRET, **other: str
) -> dict[str, str]:
    """Return Sentry's headers for a body; `other` replaces some, with _ for -."""
    given = {
        "Content-Type": "application/json",
        "Request-ID": uuid.uuid4().hex,
        "Sentry-Hook-Resource": resource,
        "Sentry-Hook-Timestamp": str(int(time.time())),
        "Sentry-Hook-Signature": hmac.new(
            secret.encode(), body, hashlib.sha256
        ).hexdigest(),
    }
    return given | {name.replace("_", "-"): value for name, value in other.items()}


def send(
    url: str, resource: str, payload: Mapping[str, Any], **other: str
) -> requests.Response:
    """Send a webhook to a URL as Sentry does, and return the answer."""
    body = json.dumps(payload).encode()
    signed = headers(resource, body, **other)
    return requests.post(url, body, headers=signed, timeout=30)


class Bridge(Process):
    """The command `resentry-agent bridge`, with its store in a folder."""

    def __init__(
        self, folder: Path, alertmanagers: Sequence[str], **settings: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port, http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}/sentry"
        self.http = f"http://127.0.0.1:{http}"
        self.store = folder / "bridge.db"
        secret = folder / "secret"
        secret.write_text(f"{SECRET}\n")
        given = {
            "RESENTRY_BRIDGE_LISTEN": f"127.0.0.1:{port}",
            "RESENTRY_BRIDGE_SECRET_FILE": str(secret),
            "RESENTRY_BRIDGE_STORE": str(self.store),
            "RESENTRY_BRIDGE_ALERTMANAGERS": ",".join(alertmanagers),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{http}",
            **settings,
        }
        inherited = {k: v for k, v in os.environ.items() if "RESENTRY" not in k}
        super().__init__(
            [sys.executable, "-m", "agent", "bridge"],
            env=inherited | given,
            ready=self._is_ready,
        )

    def send(
        self, resource: str, payload: Mapping[str, Any], **other: str
    ) -> requests.Response:
        """Send a webhook as Sentry does, and return the answer."""
        return send(self.url, resource, payload, **other)

    def status(self) -> dict[str, Any]:
        """Return what the bridge says about itself."""
        found: dict[str, Any] = requests.get(f"{self.http}/status", timeout=10).json()
        return found

    def metrics(self) -> str:
        """Return its metrics as text."""
        return requests.get(f"{self.http}/metrics", timeout=10).text

    def _is_ready(self) -> bool:
        try:
            is_ready = requests.get(f"{self.http}/readyz", timeout=5).ok
            return is_ready and requests.get(self.url, timeout=5).status_code == 405
        except requests.RequestException:
            return False
