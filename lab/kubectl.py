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
        self._lock = threading.Lock()
        self._proxy: Process | None = None
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

    def url(self, namespace: str, pod: str, address: str, port: int) -> str:  # noqa: ARG002 - it is in no network of ours
        """Return where a port of a pod, with that address, is reached from here."""
        with self._lock:
            if self._proxy is None or not self._proxy.alive:
                self._proxy = self._listener("proxy", "--port=0")
        base = f"{_address(self._proxy)}/api/v1/namespaces/{namespace}"
        return f"{base}/pods/{pod}:{port}/proxy"

    def forwarded(self, namespace: str, pod: str, port: int) -> str:
        """Return where a pod's port is reached, also one on its loopback.

        What is asked there may fail, and is to be asked anew.
        """
        key = (namespace, pod, port)
        with self._lock:
            process = self._forwards.get(key)
            if process is None or not process.alive:
                target = ("-n", namespace, f"pod/{pod}", f":{port}")
                process = self._listener("port-forward", *target)
                self._forwards[key] = process
        return _address(process)

    def _listener(self, *args: str) -> Process:
        process = Process(self.command(*args))
        process.ready = lambda: bool(_address(process))
        return process.__enter__()

    def stop_forwarding(self) -> None:
        """End what `url` and `forwarded` have started."""
        with self._lock:
            for process in filter(None, (*self._forwards.values(), self._proxy)):
                process.__exit__()
            self._forwards.clear()
            self._proxy = None


def _address(process: Process) -> str:
    found = re.search(r"127.0.0.1:\d+", process.log_text())
    return f"http://{found[0]}" if found else ""
