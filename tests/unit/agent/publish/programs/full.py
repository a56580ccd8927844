"""Fills a small volume to its end; says what an agent makes of it, then and later."""

import os
import subprocess
import sys

from agent.errors import PublishError
from agent.publish.volume import Volume
from resentry.contract import Snapshot

at, options = sys.argv[1:]
tmpfs = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", at]
if subprocess.run(tmpfs, capture_output=True).returncode:
    print("no mount")
    sys.exit()
try:
    volume = Volume(at, at + "/receipts")
    volume.open()
    good = volume.publish(Snapshot({"SENTRY_SAMPLE_RATE": 0.1}, revision="a"))
    fillers: list[str] = []
    try:
        while True:
            fillers.append(f"{at}/{len(fillers)}.filler")
            with open(fillers[-1], "wb") as filler:
                filler.write(bytes(4096))
    except OSError:
        pass
    before = {name for name in os.listdir(at) if name.startswith("..")}
    try:
        volume.publish(Snapshot({"SENTRY_SAMPLE_RATE": 0.2}, revision="b"))
    except PublishError as error:
        print("No space left" in error.what)
    print(volume.current() == good)
    print(before == {name for name in os.listdir(at) if name.startswith("..")})
    for path in fillers:
        if os.path.exists(path):
            os.unlink(path)
    print(volume.publish(Snapshot({}, revision="c")).sequence == 2)
finally:
    subprocess.run(["umount", "-l", at], check=True)
