"""`resentry.testing`: an application drives a swap in its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PROGRAM = """
import json, os
import resentry, sentry_sdk
from resentry.testing import Volume

seen = []
with Volume(SENTRY_DSN="", SENTRY_ENVIRONMENT="test") as volume:
    resentry.init(role="api", default_integrations=False)
    seen.append(sentry_sdk.get_client().options["environment"])
    volume.swap(SENTRY_DSN="", SENTRY_ENVIRONMENT="other")
    seen.append(sentry_sdk.get_client().options["environment"])
    try:
        volume.swap(within=0.5, SENTRY_DSN="", SENTRY_ENVIRONMENT="production")
    except TimeoutError as error:
        seen.append(str(error))
    directory = volume.directory
print(json.dumps([seen, os.path.exists(directory), "RESENTRY_DIR" in os.environ]))
"""


def test_a_test_swaps_and_sees_why_not() -> None:
    """A swap returns when it is done, or raises with the reason; nothing stays behind."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RESENTRY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    refused = "not swapped: SENTRY_DSN is required in production"
    assert [["test", "other", refused], False, False] == json.loads(done.stdout)
