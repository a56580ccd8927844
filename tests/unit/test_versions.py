"""The same library on other interpreters, and on the oldest sentry-sdk it supports.

`make test-versions` runs all of the client's tests there; this is the short form.
"""

import pytest

from lab.versions import CURRENT, NEWEST_SDK, OLDEST_SDK, PYTHONS, Version, run_tests

pytestmark = pytest.mark.process


SHORT = (
    "tests/unit/client/sdk/test_sdk.py",
    "tests/unit/client/test_sampling.py",
    "tests/unit/client/test_target.py",
    "-k",
    "sampling or swap or fork or request or private or queued or fallback or version",
)


@pytest.mark.parametrize(
    "version",
    [
        Version(CURRENT, OLDEST_SDK),
        *(Version(python, NEWEST_SDK) for python in PYTHONS if python != CURRENT),
    ],
    ids=str,
)
def test_the_client_works_on(version: Version) -> None:
    """Every promise of the library that these tests hold is held there, too."""
    try:
        passed, output = run_tests(version, *SHORT)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    assert passed, output
