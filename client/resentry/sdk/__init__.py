"""Every name of sentry-sdk that is not public stands in this package, and in its test.

What a new version of the SDK may break is here: `tests/unit/client/sdk/test_sdk.py`
names it one by one against the oldest and the newest supported version.

    versions    which versions are known, and what they must have
    wire        sends one envelope at a time
    parts       what a client holds back, in one process
    client      a client of ours; makes it current
    build       builds one, or a successor of one
    profiles    the profilers, which belong to the process
"""
