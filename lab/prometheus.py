"""Prometheus and promtool, of the Debian package `prometheus`."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import requests
import yaml

from lab.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def missing() -> str:
    """Return why neither can be had here, "" if both can."""
    absent = [name for name in ("prometheus", "promtool") if not shutil.which(name)]
    names = " and ".join(absent)
    return f"not installed: {names} (Debian's package prometheus)" if absent else ""


def promtool(*args: str | Path, given: bytes | None = None) -> tuple[int, str]:
    """Run promtool; return its exit code, and all that it printed."""
    done = subprocess.run(
        ["promtool", *map(str, args)],
        input=given,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


class Prometheus(Process):
    """A Prometheus that scrapes one address each second, and judges by these rules.

    The series have these labels, as a PodMonitor gives them.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        labels: Mapping[str, str],
        rules: Mapping[str, Any],
    ) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        (folder / "rules.yml").write_text(yaml.safe_dump(dict(rules)))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {
                    "job_name": "resentry",
                    "static_configs": [{"targets": [address], "labels": dict(labels)}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        super().__init__(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            ready=self._is_ready,
        )

    def alerts(self) -> dict[str, Any]:
        """Return each alert that is pending or firing, by its name."""
        answer = requests.get(f"{self.address}/api/v1/alerts", timeout=5).json()
        return {
            alert["labels"]["alertname"]: alert for alert in answer["data"]["alerts"]
        }

    def value(self, expression: str) -> float | None:
        """Return the value of an expression's only series; `None` if it has none."""
        answer = requests.get(
            f"{self.address}/api/v1/query", {"query": expression}, timeout=5
        ).json()
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.address}/-/ready", timeout=1).ok
        except requests.RequestException:
            return False
