"""The overlay `tuning`: a user who may write the ConfigMap, and not the secret."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet import PATIENCE, Fleet
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Place

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

AS_TUNER = ("--as=tuner", "--as-group=sampling")
RATE = "SENTRY_TRACES_SAMPLE_RATE"


@pytest.fixture
def fleet(place: Place) -> Iterator[Fleet]:
    with Fleet(place.cluster, place.host, place.images, "tuning") as fleet:
        yield fleet


def tune(fleet: Fleet, **values: object) -> None:
    """Write keys into the ConfigMap, as the user."""
    data = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
    }
    patch = ("patch", "configmap", "resentry-tuning", "--type=merge", "-p")
    fleet.kubectl(*AS_TUNER, *patch, json.dumps({"data": data}))
    # Kubelet looks at a ConfigMap when it looks at the pod: else about once a minute.
    stamp = f"written={random.randrange(1 << 32):08x}"
    fleet.kubectl("annotate", "pods", "--all", "--overwrite", stamp)


def statuses(fleet: Fleet) -> list[dict[str, Any]]:
    return list((fleet.statuses() or {}).values())


def await_rate(fleet: Fleet, rate: float) -> list[dict[str, Any]]:
    """Wait until every process of every pod runs this trace rate."""

    def tuned() -> list[dict[str, Any]] | None:
        found = statuses(fleet)
        good = [
            each
            for each in found
            if each["current"]["settings"].get(RATE) == rate
            and each["rollout"]["state"] == "drained"
        ]
        return found if found and len(good) == len(found) else None

    return eventually(tuned, PATIENCE, f"a trace rate of {rate}")


def test_who_tunes_rates_writes_no_secret(fleet: Fleet) -> None:
    """The ConfigMap reaches each process; a DSN in it reaches none, and holds up none."""
    fleet.write(SENTRY_DSN=fleet.sink.dsn(1), **{RATE: 0.5})
    fleet.deploy(1)
    await_rate(fleet, 0.5)

    rules = [{"match": "GET /health", "traces": 0.0}]
    tune(fleet, **{RATE: 0.25}, RESENTRY_RULES=rules)
    for status in await_rate(fleet, 0.25):
        origins = status["current"]["provenance"]
        assert origins[RATE]["source"] == "tuning"
        assert origins["SENTRY_DSN"]["source"] == "vault"
        assert status["current"]["rules"] == 1
        assert status["tuning"]["state"] == "in force"
        assert status["tuning"]["watch"] == "inotify"

    # The user sets a DSN where it can be written, and Vault's changes meanwhile.
    tune(fleet, **{RATE: 0.75}, SENTRY_DSN=fleet.sink.dsn(9))
    for status in eventually(
        lambda: (
            (found := statuses(fleet))
            and all(each["problems"] for each in found)
            and found
        ),
        PATIENCE,
        "a refusal in every pod",
    ):
        (problem,) = status["problems"]
        assert "SENTRY_DSN must not stand in a tuning file" in problem["what"]
        assert status["current"]["settings"][RATE] == 0.25
    version = fleet.write(SENTRY_DSN=fleet.sink.dsn(2), **{RATE: 0.5})
    for status in fleet.converge(version):
        assert status["current"]["settings"][RATE] == 0.25

    may = partial(fleet.kubectl, *AS_TUNER, "auth", "can-i")
    assert may("patch", "configmaps/resentry-tuning").strip() == "yes"
    for words in (
        ("get", "secrets"),
        ("create", "secrets"),
        ("patch", "configmaps"),
        ("create", "configmaps"),
        ("patch", "deployments"),
        ("create", "pods"),
        ("create", "pods", "--subresource=exec"),
        ("create", "serviceaccounts", "--subresource=token"),
    ):
        with pytest.raises(RuntimeError):  # the answer is no
            may(*words)
