"""Alertmanager and amtool, of the Debian package `prometheus-alertmanager`."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import requests
import yaml

from lab.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROGRAM = "prometheus-alertmanager"

Alert = dict[str, Any]


def missing() -> str:
    """Return why neither can be had here, "" if both can."""
    absent = [name for name in (PROGRAM, "amtool") if not shutil.which(name)]
    names = " and ".join(absent)
    return f"not installed: {names} (Debian's package {PROGRAM})" if absent else ""


def amtool(*args: str | Path) -> tuple[int, str]:
    """Run amtool; return its exit code, and all that it printed."""
    done = subprocess.run(
        ["amtool", *map(str, args)], capture_output=True, check=False, timeout=60
    )
    return done.returncode, (done.stdout + done.stderr).decode()


class Alertmanager(Process):
    """An Alertmanager at `host`. Its address stays the same when it starts again."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], host: str = "127.0.0.1"
    ) -> None:
        at = f"{host}:{free_port()}"
        self.address = f"http://{at}"
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(config)))
        super().__init__(
            [
                PROGRAM,
                f"--config.file={folder}/alertmanager.yml",
                f"--storage.path={folder}/data",
                f"--web.listen-address={at}",
                "--cluster.listen-address=",  # else it listens at each address
            ],
            ready=self._is_ready,
        )

    def post(self, *alerts: Alert) -> None:
        """Post alerts as a client does: `labels`, and what else they may have."""
        url = f"{self.address}/api/v2/alerts"
        requests.post(url, json=alerts, timeout=5).raise_for_status()

    def alerts(self, *matchers: str, **state: bool) -> list[Alert]:
        """Return the alerts that it has, as its API tells them."""
        given = {name: str(value).lower() for name, value in state.items()}
        url = f"{self.address}/api/v2/alerts"
        answer = requests.get(url, {"filter": [*matchers], **given}, timeout=5)
        answer.raise_for_status()
        found: list[Alert] = answer.json()
        return found

    def silence(self, *matchers: str, duration: str = "1h") -> str:
        """Silence alerts as an operator does, and return the silence's id."""
        code, printed = amtool(
            "silence",
            "add",
            f"--alertmanager.url={self.address}",
            "--author=operator",
            "--comment=seen",
            f"--duration={duration}",
            *matchers,
        )
        if code:
            raise RuntimeError(printed)
        return printed.strip()

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.address}/-/ready", timeout=1).ok
        except requests.RequestException:
            return False


def names(alerts: Sequence[Alert]) -> list[str]:
    """Return the names of these alerts, sorted."""
    return sorted(str(alert["labels"]["alertname"]) for alert in alerts)
