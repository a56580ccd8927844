"""The shipped configuration of Alertmanager, with receivers of this machine and quick times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from lab.receiver import Receiver

CONFIG = REPOSITORY / "k8s" / "monitoring" / "alertmanager.yml"
QUICK = {
    "group_wait": {"0s": "0s", "30s": "500ms", "1m": "1s"},
    "group_interval": {"1m": "1s", "5m": "1s"},
    "repeat_interval": dict.fromkeys(("5m", "15m", "1h", "12h", "24h"), "1h"),
}
"""The times of a test. Nothing is repeated within an hour."""


def shipped() -> dict[str, Any]:
    """Return the configuration as it is in k8s/monitoring."""
    read: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return read


def quick(receiver: Receiver) -> dict[str, Any]:
    """Return the configuration with this receiver, whose path is the receiver's name."""
    config = shipped()
    for named in config["receivers"]:
        for hook in named["webhook_configs"]:
            hook["url"] = f"http://{receiver.address}/{named['name']}"
    for route in (config["route"], *config["route"]["routes"]):
        for name, times in QUICK.items():
            if name in route:
                route[name] = times[route[name]]
    return config


def told(receiver: Receiver, name: str) -> list[dict[str, Any]]:
    """Return each notification that this receiver has had, in order."""
    return [
        json.loads(one.body)
        for one in list(receiver.requests)
        if one.start[1] == f"/{name}"
    ]


def heard(receiver: Receiver, name: str, status: str = "firing") -> set[str]:
    """Return the names of the alerts of which this receiver was told this status."""
    return {
        alert["labels"]["alertname"]
        for notification in told(receiver, name)
        for alert in notification["alerts"]
        if alert["status"] == status
    }
