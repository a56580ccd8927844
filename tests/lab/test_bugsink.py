"""The lab's Bugsink stores what sentry-sdk sends."""

import pytest
import sentry_sdk

from lab.bugsink import Bugsink

# Its database is made first: seconds of processor time.
pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]


def test_bugsink_stores_events_before_it_answers() -> None:
    """What has been flushed is read back, project by project."""
    with Bugsink() as bugsink:
        clients = {
            name: sentry_sdk.Client(
                dsn=bugsink.project(name),
                environment=f"{name}-environment",
                release="lms@1",
                default_integrations=False,
            )
            for name in ("lms", "other")
        }
        sent = {
            name: client.capture_event({"message": f"hello {name}"})
            for name, client in clients.items()
        }
        for client in clients.values():
            client.close()
        for name, event_id in sent.items():
            assert bugsink.events(name) == [
                {
                    "event_id": event_id,
                    "environment": f"{name}-environment",
                    "release": "lms@1",
                    "message": f"hello {name}",
                }
            ]
