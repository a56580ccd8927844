"""A Kubernetes cluster, seen through kubectl."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from lab.process import Process

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 300


class Kubectl:
    """Whatever `kubeconfig` leads to, as its current user sees it."""

    def __init__(self, program: Path | str, kubeconfig: Path | str) -> None:
        self.program = str(program)
        self.kubeconfig = str(kubeconfig)
        self._forwarding = threading.Lock()
        self._forwards: dict[tuple[str, str, int], Process] = {}

    def command(self, *args: str) -> list[str]:
        """Return the whole command line, for what runs on its own."""
        return [self.program, f"--kubeconfig={self.kubeconfig}", *args]

    def kubectl(self, *args: str, text: str = "") -> str:
        """Return what kubectl prints, given `text`; RuntimeError with its complaint."""
        done = subprocess.run(
            self.command(*args),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, text: str, *options: str) -> str:
        """Apply manifests; return what kubectl says of each."""
        return self.kubectl("apply", "-f", "-", *options, text=text)

    def get(self, *what: str) -> dict[str, Any]:
        """Return an object, or a list of them, as `kubectl get` finds it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "-o", "json"))
        return found

    def url(self, namespace: str, pod: str, address: str, port: int) -> str:  # noqa: ARG002 - where it is no network of ours
        """Return where a port of a pod, with that address, is reached from here."""
        return self.forwarded(namespace, pod, port)

    def forwarded(self, namespace: str, pod: str, port: int) -> str:
        """Return where a pod's port is reached, also one on its loopback."""
        key = (namespace, pod, port)
        with self._forwarding:
            process = self._forwards.get(key)
            if process is None or not process.alive:
                process = self._forward(*key)
                self._forwards[key] = process
        return f"http://127.0.0.1:{_local_port(process)}"

    def _forward(self, namespace: str, pod: str, port: int) -> Process:
        command = self.command(
            "port-forward", "-n", namespace, f"pod/{pod}", f":{port}"
        )
        process = Process(command)
        process.ready = lambda: bool(_local_port(process))
        return process.__enter__()

    def stop_forwarding(self) -> None:
        """End what `forwarded` has started."""
        with self._forwarding:
            for process in self._forwards.values():
                process.__exit__()
            self._forwards.clear()


def _local_port(process: Process) -> str:
    found = re.search(r"Forwarding from 127.0.0.1:(\d+)", process.log_text())
    return found[1] if found else ""
