"""A headless Chromium that tests drive: they see a page as a person would.

It is driven by a pipe, with the DevTools protocol: no port is open.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "chromium"
OPTIONS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
)
ANSWER_SECONDS = 60.0
_END = b"\0"


def obstacle() -> str:
    """Say why there is no browser here; "" if there is one."""
    if shutil.which(PROGRAM):
        return ""
    return "first: apt-get install --no-install-recommends chromium"


class Browser:
    """One Chromium with one page."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lab-browser-"))
        self._popen: subprocess.Popen[bytes] | None = None
        self._to, self._from = -1, -1
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        """What the browser has refused to do, and errors of the page's script."""

    def __enter__(self) -> Self:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # The pipe's ends must be the descriptors 3 and 4 of the browser.
        launch = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
        profile = f"--user-data-dir={self._folder}"
        self._popen = subprocess.Popen(
            ["bash", "-c", launch, PROGRAM, *OPTIONS, profile, "about:blank"],
            pass_fds=[theirs_in, theirs_out],
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._popen is not None:
            os.killpg(self._popen.pid, 9)
            self._popen.wait()
        for file in (self._to, self._from):
            os.close(file)
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, address: str) -> None:
        """Show the page at an address."""
        self.complaints.clear()
        self.ask("Page.navigate", url=address)

    def size(self, width: int, height: int = 900, *, is_dark: bool = False) -> None:
        """Give the page a width and a colour scheme."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {
            "name": "prefers-color-scheme",
            "value": "dark" if is_dark else "light",
        }
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """Return what a person reads in an element."""
        found = self.run(f"document.querySelector({json.dumps(selector)})?.innerText")
        return str(found or "")

    def await_text(self, text: str, selector: str = "body", within: float = 30) -> str:
        """Wait until an element shows this text, and return all that it shows."""

        def shows() -> str | None:
            seen = self.text(selector)
            return seen if text in seen else None

        try:
            return eventually(shows, within, f"{text!r} in {selector}")
        except TimeoutError as error:
            error.add_note(f"it shows: {self.text(selector)}")
            raise

    def picture(self, path: Path) -> Path:
        """Write a PNG of the whole page."""
        height = int(self.run("document.documentElement.scrollHeight"))
        width = int(self.run("document.documentElement.clientWidth"))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self.ask(
            "Page.captureScreenshot", captureBeyondViewport=True, clip=clip
        )
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Have the browser do one thing, and return its answer."""
        self._number += 1
        request: dict[str, Any] = {
            "id": self._number,
            "method": method,
            "params": params,
        }
        if self._session:
            request["sessionId"] = self._session
        os.write(self._to, json.dumps(request).encode() + _END)
        deadline = time.monotonic() + ANSWER_SECONDS
        while (answer := self._next(deadline)).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _attach(self) -> None:
        targets: Sequence[dict[str, Any]] = self.ask("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.ask(
            "Target.attachToTarget", targetId=page["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def _next(self, deadline: float) -> dict[str, Any]:
        while _END not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self._from], [], [], left)
            part = os.read(self._from, 1 << 16) if readable else b""
            if not part:
                raise TimeoutError("the browser gave no answer")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(_END)
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            entry = params["entry"]
            # What cannot be fetched is part of the tests.
            if entry["source"] != "network":
                self.complaints.append(f"{entry['source']}: {entry['text']}")
