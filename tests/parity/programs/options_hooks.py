"""Options: hooks, logs, reports, integrations.

A case `shows` one option: without it, sentry-sdk alone sends something else.
"""

from __future__ import annotations

import logging
from typing import Any

import sentry_sdk
from program import case, main, pause, report_twice, say, work_twice
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.argv import ArgvIntegration


def tagged(event: Any, hint: Any) -> Any:
    """Tag an event by what the hook was given."""
    event.setdefault("tags", {})["hint"] = ",".join(sorted(hint))
    return event


def named(item: Any, hint: Any) -> Any:
    """Add an attribute to a log, a metric or a span."""
    item["attributes"]["hinted"] = ",".join(sorted(hint)) or "by nothing"
    return item


# Hooks


@case(shows={"before_send": tagged})
def before_send() -> None:
    sentry_sdk.capture_message("said")
    report_twice()


@case(shows={"before_send_transaction": tagged})
def before_send_transaction() -> None:
    work_twice()


@case(shows={"before_breadcrumb": lambda crumb, hint: {**crumb, "type": str(hint)}})
def before_breadcrumb() -> None:
    sentry_sdk.add_breadcrumb(message="step")
    report_twice()


@case(shows={"before_send_log": named}, enable_logs=True)
def before_send_log() -> None:
    sentry_sdk.logger.info("one")
    pause()
    sentry_sdk.logger.info("two")


@case(shows={"before_send_metric": named})
def before_send_metric() -> None:
    sentry_sdk.metrics.count("lessons", 1)
    pause()
    sentry_sdk.metrics.count("lessons", 1)


def sampled(event: Any, hint: Any) -> float:
    say(sampling=sorted(hint), type=event.get("level"))
    return 0.0


@case(shows={"error_sampler": sampled})
def error_sampler() -> None:
    report_twice()


@case(shows={"ignore_errors": [ValueError]})
def ignore_errors() -> None:
    report_twice()
    sentry_sdk.capture_message("said")


# Logs, metrics, sessions, reports


@case(shows={"enable_logs": True})
def enable_logs() -> None:
    sentry_sdk.logger.info("one")
    logging.getLogger("course").warning("two")
    pause()
    sentry_sdk.logger.info("three")


@case(shows={"enable_metrics": False}, debug=True)  # it is only said that it is gone
def enable_metrics() -> None:
    sentry_sdk.metrics.count("lessons", 1)
    pause()
    sentry_sdk.capture_message("counted")


@case(shows={"send_client_reports": False}, before_send=lambda *_: None)
def send_client_reports() -> None:
    report_twice()
    sentry_sdk.metrics.count("lessons", 1)


# Integrations


class Marking(Integration):
    identifier = "marking"
    times = 0

    @staticmethod
    def setup_once() -> None:
        Marking.times += 1


@case(shows={"integrations": [Marking()]})
def integrations() -> None:
    report_twice()
    say(times=Marking.times)


@case(shows={"default_integrations": False})
def default_integrations() -> None:
    logging.getLogger("course").error("not an event")
    report_twice()
    sentry_sdk.flush()


@case(shows={"auto_enabling_integrations": False})
def auto_enabling_integrations() -> None:
    report_twice()


@case(shows={"disabled_integrations": [ArgvIntegration]})
def disabled_integrations() -> None:
    report_twice()


if __name__ == "__main__":
    main()
