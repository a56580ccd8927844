"""What a process imports of the library: what it needs, and never in the other thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.swaps import publish

pytestmark = pytest.mark.process


FOR_A_VOLUME = {
    "encodings.idna",
    "resentry.follower",
    "resentry.scrub",
    "resentry.watch",
}


def imported(script: str, **environ: str) -> set[str]:
    """Return which of these are there at the end of the script."""
    end = f"print(*({FOR_A_VOLUME!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys\n{script}\n{end}"],
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return set(done.stdout.split())


def test_without_a_volume_nothing_of_it_is_imported() -> None:
    script = "import resentry; resentry.init()"
    off = {"ENVIRONMENT": "staging", "SENTRY_SEND_PII": "true"}
    assert imported(script, **off) == set()


def test_init_has_imported_all_that_a_swap_may_need(tmp_path: Path) -> None:
    """A thread that imports holds a lock, which a forked child would inherit."""
    settings = {
        "SENTRY_DSN": "",
        "SENTRY_ENVIRONMENT": "staging",
        "SENTRY_SEND_PII": True,
    }
    publish(tmp_path, 1, settings)
    script = """
import resentry, threading
threading.Thread.start = lambda self: None  # no thread has imported anything
resentry.init()"""
    assert imported(script, RESENTRY_DIR=str(tmp_path)) == FOR_A_VOLUME
