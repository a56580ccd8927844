"""Scrubbing beside the options of the SDK: the table of docs/pii.md, row by row."""

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from recorder import Recorder
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.envelope import Envelope
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import Transport

from lab.paths import DOCS

Run = Callable[..., Any]

PAGE = DOCS / "pii.md"
PLANTED = {
    "password": "pw-planted",  # of the SDK's list of secrets
    "address": "192.0.2.44",  # of the SDK's list of personal data
    "tenant": "tenant-planted",  # of the application's own list
    "mail": "m.keller@planted.io",  # what ours alone takes out
}
EVENT = {
    "message": f"graded by {PLANTED['mail']}",
    "user": {"id": "u-1", "ip_address": PLANTED["address"]},
    "extra": {"password": PLANTED["password"], "tenant": PLANTED["tenant"]},
}
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("{}", {}),
    "`send_default_pii`": ("{'send_default_pii': not PII}", {}),
    "`data_collection`": (
        "{'data_collection': {'http_bodies': []}}",
        {"data_collection": {"http_bodies": []}},
    ),
    "`event_scrubber`": (
        "{'event_scrubber': EventScrubber(['tenant'], send_default_pii=PII)}",
        {},
    ),
}
"""What the application gives, as the page names it: as source, and to the plain SDK."""

ARRIVES: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    ("off", "nothing"): ({"tenant", "mail"}, {"tenant"}),
    ("off", "`send_default_pii`"): ({"tenant", "mail"}, {"tenant"}),
    ("off", "`data_collection`"): (set(PLANTED), {"tenant"}),
    ("off", "`event_scrubber`"): ({"password", "mail"}, set()),
    ("on", "nothing"): (set(PLANTED) - {"password"},) * 2,
    ("on", "`send_default_pii`"): (set(PLANTED) - {"password"},) * 2,
    ("on", "`data_collection`"): (set(PLANTED),) * 2,
    ("on", "`event_scrubber`"): (set(PLANTED) - {"tenant"},) * 2,
}
"""By PII and by what is given, what arrives from the SDK alone, and what from ours."""


@pytest.fixture
def sink() -> Iterator[Recorder]:
    with Recorder() as running:
        yield running


def arrived(text: str) -> set[str]:
    return {name for name, needle in PLANTED.items() if needle in text}


def test_the_page_has_these_rows() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines()]
    found = [
        (row[0].strip("| "), row[1]) for row in rows if row[0] in ("| off", "| on")
    ]
    assert found == list(ARRIVES)


@pytest.mark.process
@pytest.mark.parametrize(("pii", "given"), ARRIVES)
def test_what_arrives_is_what_the_row_says(
    run: Run, sink: Recorder, pii: str, given: str
) -> None:
    if given == "`data_collection`" and "data_collection" not in DEFAULT_OPTIONS:
        pytest.skip("no data_collection in this sentry-sdk")
    source, options = OPTIONS[given]
    if given == "`event_scrubber`":
        options = {
            "event_scrubber": EventScrubber(["tenant"], send_default_pii=pii == "on")
        }
    alone, ours = ARRIVES[pii, given]
    assert arrived(of_the_sdk(pii=pii == "on", **options)) == alone
    ran = run(
        f"""
from sentry_sdk.scrubber import EventScrubber
PII = {pii == "on"}
resentry.init(**QUICK, **{source})
sentry_sdk.capture_event({EVENT!r})
sentry_sdk.get_client().flush()
resentry.close()
say()
""",
        SENTRY_DSN=sink.dsn(1),
        SENTRY_SEND_PII=str(pii == "on").lower(),
        SENTRY_ENVIRONMENT="staging",
    )
    assert sink.count("event") == 1
    assert arrived(sink.arrived) == ours
    assert (
        "'send_default_pii': your value is ignored; set SENTRY_SEND_PII" in ran.log
    ) == (given == "`send_default_pii`")


class Kept(Transport):
    """A transport that keeps what it is given, as a text."""

    text = ""

    def capture_envelope(self, envelope: Envelope) -> None:
        self.text += envelope.serialize().decode()


def of_the_sdk(*, pii: bool, **options: Any) -> str:
    """Return what the SDK alone sends."""
    with warnings.catch_warnings(), sentry_sdk.isolation_scope() as scope:
        warnings.simplefilter("ignore")
        client = sentry_sdk.Client(
            dsn="http://key@127.0.0.1/1",
            transport=Kept,
            default_integrations=False,
            auto_enabling_integrations=False,
            send_default_pii=pii,
            **options,
        )
        scope.set_client(client)
        sentry_sdk.capture_event(json.loads(json.dumps(EVENT)))
        transport = client.transport
        client.close()
    assert isinstance(transport, Kept)
    return transport.text
