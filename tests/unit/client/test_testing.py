"""`resentry.testing`: an application drives a swap in its own tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk

import resentry
from resentry import testing

pytestmark = pytest.mark.process


PAGE = Path(__file__).parents[3] / "docs" / "library.md"

QUIET = {
    "SENTRY_DSN": "",
    "SENTRY_ENVIRONMENT": "test",
    "SENTRY_TRACES_SAMPLE_RATE": 1.0,
}
PROGRAM = """
import json, os
import resentry, sentry_sdk
from resentry.testing import FakeVolume

seen = []
with FakeVolume(SENTRY_DSN="", SENTRY_ENVIRONMENT="test") as volume:
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

    reason = r"SENTRY_DSN is required in production \(.+\)"
    (*environments, refused), *left = json.loads(done.stdout)
    assert environments == ["test", "other"]
    assert re.fullmatch(
        f"snapshot [0-9a-f]{{12}} does not run after 0.5 s: {reason}", refused
    )
    assert left == [False, False]


def test_an_application_can_test_what_bounds_its_events() -> None:
    """Ceilings, error rules and budgets, as rules and boosts."""
    with testing.FakeVolume(**QUIET) as volume:
        resentry.init(role="api")
        closed = testing.Ceiling(traces=0.0)
        rule = testing.ErrorRule(exception="ValueError", rate=0.0)
        budget = testing.Budget(errors=60)
        snapshot = volume.swap(
            **QUIET, ceilings=[closed], errors=[rule], budgets=[budget]
        )
        assert (snapshot.errors, snapshot.budgets) == ((rule,), (budget,))
        assert not sentry_sdk.start_transaction(name="GET /").sampled


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"SENTRY_DNS": ""},
            "SENTRY_DNS is not a setting; the settings are SENTRY_DSN, ",
        ),
        ({"roles": {"api": {"SENTRY_DNS": ""}}}, "SENTRY_DNS is not a setting"),
        ({"rules": ["GET /health"]}, "rules must hold Rule, not str"),
        ({"boosts": [testing.Rule("x", 1.0)]}, "boosts must hold Boost, not Rule"),
        ({"errors": [testing.Budget()]}, "errors must hold ErrorRule, not Budget"),
    ],
)
def test_a_mistake_in_a_test_is_named(given: dict[str, Any], problem: str) -> None:
    """Else the test would pass without the setting that it is about."""
    volume = testing.FakeVolume()
    with volume, pytest.raises(TypeError, match=problem):
        volume.publish(**given)


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    """As a test of an application's, and it is the example of the module as well."""
    blocks = re.findall(r"(?s)```python\n(.+?)```", PAGE.read_text())
    (example,) = (block for block in blocks if "resentry.testing" in block)
    assert textwrap.indent(example, "    ").strip() in (testing.__doc__ or "")
    (tmp_path / "test_example.py").write_text(example)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RESENTRY_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in ran.stdout, ran.stdout


def test_the_page_names_all_that_an_application_may_import() -> None:
    """Each name of `resentry` and of `resentry.testing`, and each key of `status()`."""
    page = PAGE.read_text()
    names = [f"resentry.{name}" for name in resentry.__all__]
    names += [f"resentry.testing.{name}" for name in testing.__all__]
    names += resentry.Status.__annotations__
    assert [name for name in names if f"`{name}" not in page] == []
    assert list(resentry.status()) == list(resentry.Status.__annotations__)


def test_status_has_every_key_also_where_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An application may read a key without asking whether it is there."""
    monkeypatch.setitem(sys.modules, "resentry.target", None)  # its import fails
    failed = resentry.status()
    assert list(failed) == list(resentry.Status.__annotations__)
    assert (
        failed["error"]
        == "resentry.status failed; the log of resentry names the reason"
    )
