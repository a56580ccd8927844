"""Documents are made in threads, also the first one of their kind."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import pytest

from agent.observe.converting import convert


@pytest.mark.server
def test_no_two_threads_convert_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they do so for the first time, msgspec may crash the process."""
    inside, most = 0, 0
    real = msgspec.convert

    def slow(value: Any, kind: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)  # so that others would come in
        inside -= 1
        return real(value, kind)

    monkeypatch.setattr(msgspec, "convert", slow)
    threads = [
        threading.Thread(target=convert, args=({"a": 1}, dict[str, int]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
