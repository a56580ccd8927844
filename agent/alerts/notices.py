"""Alerts and silences that tell Alertmanagers of what people do on purpose.

An alert's labels are its identity, so telling the same once more changes nothing. An
Alertmanager forgets alerts when it restarts, but no silences.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from agent.domain.receiver import receiver_names
from agent.errors import AgentError
from agent.web import Request, exchange
from resentry.formats import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 10.0
ANSWER_BYTES = 8 * 1024 * 1024
AUTHOR = "resentry-agent"
"""Who made a silence. Silences of others are left alone."""
DEPLOY_SECONDS = 3600.0
"""The notice of a deployment ends by itself after this time."""


class NoticeFailed(AgentError):
    """An Alertmanager did not take a notice."""

    exit_code = 69
    retry_soon = True


class Alert(NamedTuple):
    """An alert, and when it ends by itself."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ends_at: float


def deployed(
    project: str, release: str, environment: str, url: str, now: float
) -> Alert:
    """Return the notice of a deployment."""
    labels = {
        "alertname": "Deployment",
        "severity": "info",
        "project": project,
        "environment": environment,
        "release": release,
        "source": "resentry",
    }
    annotations = {"summary": f"{release} was deployed to {environment}", "url": url}
    return Alert(_filled(labels), _filled(annotations), now + DEPLOY_SECONDS)


def maintained(environment: str, comment: str, ends_at: float) -> Alert:
    """Return the notice of a maintenance. It hides the environment's warnings."""
    labels = {
        "alertname": "PlannedMaintenance",
        "severity": "info",
        "environment": environment,
        "source": "resentry",
    }
    until = time_text(ends_at, "seconds")
    summary = f"planned maintenance of {environment} until {until}"
    return Alert(labels, _filled({"summary": summary, "description": comment}), ends_at)


class Alertmanager:
    """One Alertmanager.

    Args:
        url: its address, as http://alertmanager:9093.
        headers: sent with each request, as an Authorization.

    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json", **headers}

    def tell(self, alert: Alert) -> None:
        """Post an alert. Raises `NoticeFailed`."""
        document = {
            "labels": alert.labels,
            "annotations": alert.annotations,
            # Else Alertmanager takes the end for the beginning.
            "startsAt": time_text(min(time.time(), alert.ends_at)),
            "endsAt": time_text(alert.ends_at),
        }
        self._ask("POST", "alerts", [document])

    def silence(
        self, environment: str, comment: str, now: float, ends: float, *, is_new: bool
    ) -> None:
        """Silence the environment's warnings until then, never a critical alert.

        Our own silence of the same environment gets another end; there is a new one only
        if it `is_new`. Raises `NoticeFailed`.
        """
        body = {
            "matchers": _matchers(environment),
            "startsAt": time_text(now),
            "endsAt": time_text(ends),
            "createdBy": AUTHOR,
            "comment": comment or "planned maintenance",
        }
        own = self._own(environment)
        if own:
            body["id"] = own[0]
        elif not is_new:
            return
        self._ask("POST", "silences", body)

    def unsilence(self, environment: str) -> None:
        """End our own silences of the environment. Raises `NoticeFailed`."""
        for id_ in self._own(environment):
            self._ask("DELETE", f"silence/{id_}")

    def _own(self, environment: str) -> list[str]:
        """Return the ids of our own silences of the environment that have not ended."""
        wanted = _matchers(environment)
        try:
            return [
                str(each["id"])
                for each in self._ask("GET", "silences")
                if each["createdBy"] == AUTHOR
                and each["status"]["state"] != "expired"
                and sorted(map(_matcher, each["matchers"]))
                == sorted(map(_matcher, wanted))
            ]
        except (KeyError, TypeError):
            raise self._failed("what answers is no Alertmanager") from None

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        request = Request(method, f"{self._url}/api/v2/{path}", self._headers, data)
        try:
            status, answer = exchange(request, SECONDS, limit=ANSWER_BYTES)
        except OSError as error:
            raise self._failed(str(error)) from None
        if status != 200:
            raise self._failed(f"HTTP status {status}")
        try:
            return msgspec.json.decode(answer) if answer else None
        except msgspec.DecodeError:
            raise self._failed("what answers is no Alertmanager") from None

    def _failed(self, reason: str) -> NoticeFailed:
        (name,) = receiver_names([self._url])
        return NoticeFailed(
            f"the Alertmanager {name} did not take the notice: {reason}"
        )


def _matchers(environment: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "value": value, "isRegex": False, "isEqual": True}
        for name, value in (("environment", environment), ("severity", "warning"))
    ]


def _matcher(matcher: Mapping[str, Any]) -> tuple[str, str, bool, bool]:
    is_equal = matcher.get("isEqual", True)
    return matcher["name"], matcher["value"], matcher["isRegex"], is_equal


def _filled(texts: Mapping[str, str]) -> dict[str, str]:
    """Leave out what is empty: an Alertmanager drops an empty label."""
    return {name: text for name, text in texts.items() if text}
