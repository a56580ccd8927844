"""A target whose application makes a second client with the same DSN.

The client is closed when a line comes in on the named pipe that it is given, and
forgotten without being closed if the line says so. A file `.made` says that it is there.
"""

from __future__ import annotations

import gc
import os
import sys

import sentry_sdk

import resentry

resentry.init(role="api")
others = [sentry_sdk.Client(dsn=sentry_sdk.get_client().dsn)]
# The SDK's continuous profiler keeps the newest client alive.
last = sentry_sdk.Client(dsn="http://key@127.0.0.1:9/9")
with open(f"{sys.argv[1]}.made", "w"):
    pass
while True:
    with open(sys.argv[1]) as pipe:
        for line in pipe:
            if line == "close\n":
                others[0].close()
            others.clear()
            gc.collect()
            os.write(1, line.encode())
