"""Raises a copy of a critical alert that is neither mended nor silenced in time.

Alertmanager calls one level of people only, and it alone knows what is silenced. So each
Alertmanager is asked: for the alerts of Sentry and for those of Prometheus alike. The copy
has one label more, by which Alertmanager calls the second level. Nothing is stored: a copy
that is not posted again ends by itself.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import structlog
from msgspec import Struct, field

from agent.backoff import retry_seconds
from agent.bridge.alertmanager import addresses_of, seconds_ahead
from agent.bridge.rounds import Rounds
from agent.web import Request, ask
from resentry.formats import moment, time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.bridge.duty_metrics import DutyMetrics

LABEL, LEVEL = "escalation", "l2"
HOLD_SECONDS = 300.0
"""A copy that is not posted again ends by itself after this time."""
LOOK_SECONDS = 30.0
CAP_SECONDS = 60.0
SECONDS = 10.0
ANSWER_BYTES = 16 * 1024 * 1024
COPIES_LIMIT = 50
"""So many copies an Alertmanager gets of each group: each group is one notification."""
GROUP = ("alertname", "project", "environment", "namespace")
"""The labels of a group: those by which k8s/monitoring/alertmanager.yml makes messages."""
_QUERY = urlencode(
    {
        "active": "true",
        "silenced": "false",
        "inhibited": "false",
        "unprocessed": "true",
        "filter": 'severity="critical"',
    }
)

log = structlog.get_logger()


class Alert(Struct):
    """An alert as an Alertmanager tells it. Other fields are skipped."""

    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)
    starts_at: str = field(name="startsAt", default="")
    url: str = field(name="generatorURL", default="")

    @property
    def identity(self) -> frozenset[tuple[str, str]]:
        """The labels, without the one of a copy."""
        return frozenset(each for each in self.labels.items() if each[0] != LABEL)


_DECODER = msgspec.json.Decoder(list[Alert])
"""Made once: threads that make one at the same moment crash msgspec 0.22."""


class Decision(NamedTuple):
    """What an Alertmanager needs now."""

    due: list[Alert]
    """The alerts that need a copy, the newest first."""
    over: list[Alert]
    """The copies that are over."""
    cut: int
    """So many alerts get no copy, because newer ones of their group have one."""


def decide(alerts: Iterable[Alert], now: float, after_seconds: float) -> Decision:
    """Decide by the alerts that are critical, and neither silenced nor inhibited.

    The limit holds for each group alone: a storm keeps no other alert back. The newest come
    first: the second level has been called for older ones.
    """
    copies = {each.identity: each for each in alerts if each.labels.get(LABEL) == LEVEL}
    due = [
        each
        for each in alerts
        if LABEL not in each.labels and now - _began(each, now) >= after_seconds
    ]
    due.sort(key=lambda each: _began(each, now), reverse=True)
    wanted = {each.identity for each in due}
    over = [copy for identity, copy in copies.items() if identity not in wanted]
    number = Counter[tuple[str | None, ...]]()
    chosen = []
    for each in due:
        group = tuple(map(each.labels.get, GROUP))
        number[group] += 1
        if number[group] <= COPIES_LIMIT:
            chosen.append(each)
    return Decision(chosen, over, len(due) - len(chosen))


def _began(alert: Alert, now: float) -> float:
    try:
        return moment(alert.starts_at)
    except ValueError:
        return now


class Escalation(Rounds):
    """Watches one Alertmanager.

    When it is stopped, its copies stay until they end by themselves, or another bridge
    goes on.

    Args:
        url: its address.
        name: how log and metrics call it.
        after_seconds: a critical alert may be open and unsilenced for so long.
        headers: sent with each request, as an Authorization.
        metrics: tell how many copies there are, and how often a look has failed.

    """

    def __init__(
        self,
        url: str,
        name: str,
        after_seconds: float,
        headers: Mapping[str, str],
        metrics: DutyMetrics,
    ) -> None:
        super().__init__("escalate", min(LOOK_SECONDS, after_seconds / 4))
        self._address = f"{url.rstrip('/')}/api/v2/alerts"
        self.name = name
        self._after = after_seconds
        self._headers = {"Content-Type": "application/json", **headers}
        self._metrics = metrics
        self._failures = 0
        self._cut = 0
        self.raised = 0
        self.reason = ""
        """Why the newest look has failed; empty if it has not."""

    def _round(self) -> float:
        try:
            self._look()
        except OSError as error:
            return self._failed(str(error))
        except Exception:
            self._failed("an unexpected error")
            raise
        return self._seconds

    def _look(self) -> None:
        """Look at each replica. One that fails keeps no other one back."""
        failed, done = [], []
        for address in addresses_of(self._address):
            try:
                done.append(self._look_at(address))
            except (OSError, msgspec.MsgspecError) as error:
                why = str(error) or type(error).__name__
                failed.append(f"{address}: {why}" if address else why)
        raised = max((number for number, _ in done), default=self.raised)
        if failed:
            self.raised = raised
            raise OSError("; ".join(failed))
        self._succeeded(raised, max(cut for _, cut in done))

    def _look_at(self, address: str) -> tuple[int, int]:
        """Post the copies; return how many there are, and how many alerts have none."""
        url, headers = self._address, self._headers
        request = Request("GET", f"{url}?{_QUERY}", headers, None, address)
        answer = ask(request, SECONDS, limit=ANSWER_BYTES, to_link_local=False)
        if answer.status != 200:
            raise OSError(f"HTTP status {answer.status}")
        if len(answer.body) == ANSWER_BYTES:
            raise OSError(f"more than {ANSWER_BYTES} bytes of critical alerts")
        alerts = _DECODER.decode(answer.body)
        now = time.time() + seconds_ahead(answer.date)
        due, over, cut = decide(alerts, now, self._after)
        documents = [self._copy(each, now + HOLD_SECONDS) for each in due]
        documents += [self._copy(each, now) for each in over]
        if documents:
            encoded = msgspec.json.encode(documents)
            request = Request("POST", url, headers, encoded, address)
            answer = ask(request, SECONDS)
            if answer.status >= 300:
                raise OSError(f"HTTP status {answer.status}")
        return len(due), cut

    def _copy(self, alert: Alert, ends_at: float) -> dict[str, Any]:
        """Return the copy of an alert in the form of Alertmanager's API v2."""
        starts = min(_began(alert, ends_at), ends_at)
        if LABEL not in alert.labels:
            starts = min(starts + self._after, ends_at)
        minutes = f"{self._after / 60:g} minutes"
        told = {"escalated": f"neither ended nor silenced within {minutes}"}
        document: dict[str, Any] = {
            "labels": {**alert.labels, LABEL: LEVEL},
            "annotations": {**alert.annotations, **told},
            "startsAt": time_text(starts),
            "endsAt": time_text(ends_at),
        }
        if alert.url:
            document["generatorURL"] = alert.url
        return document

    def _succeeded(self, raised: int, cut: int) -> None:
        if self._failures:
            log.info("critical alerts are escalated again", alertmanager=self.name)
        self._failures, self.reason = 0, ""
        self._metrics.escalated(self.name, raised, 0)
        self._metrics.not_escalated(self.name, cut)
        if cut and not self._cut:
            log.warning(
                "some critical alerts are not escalated: newer ones of their group are",
                alertmanager=self.name,
                alerts=cut,
                limit=COPIES_LIMIT,
                hint="look at the alerts of the group in Alertmanager: a rule is too loud, "
                "or one cause has many alerts",
            )
        self._cut = cut
        if raised > self.raised:
            log.warning(
                "critical alerts are escalated to the second level",
                alertmanager=self.name,
                alerts=raised,
                hint="silence an alert in Alertmanager to take it",
            )
        self.raised = raised

    def _failed(self, reason: str) -> float:
        self._failures += 1
        self.reason = reason
        self._metrics.escalated(self.name, self.raised, self._failures)
        if self._failures == 1:
            log.warning(
                "cannot ask an Alertmanager for its critical alerts: none is escalated "
                "there; trying again",
                alertmanager=self.name,
                reason=reason,
                hint="let the bridge GET /api/v2/alerts, not only POST",
            )
        return retry_seconds(self._failures, CAP_SECONDS, None)
