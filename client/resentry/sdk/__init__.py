"""All uses of sentry-sdk's private names: a new version of the SDK may break this package.

`tests/unit/client/sdk/test_sdk.py` checks each private name against the oldest and the
newest supported version.

    versions    which versions are supported, and which names they must have
    wire        sends one envelope at a time
    parts       the parts of a client that hold items back
    client      the library's client, and how it becomes current
    build       builds a client, or the successor of a client
    tracing     lets rules and boosts decide on a trace
    profiles    keeps the profilers, which belong to the process, across swaps
"""
