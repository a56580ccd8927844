"""Mounts a volume, lets it turn read-only, and says what an agent makes of it."""

import subprocess
import sys

from agent.errors import PublishError
from agent.publish.volume import Volume
from resentry.contract import Snapshot

at = sys.argv[1]
if subprocess.run(["mount", "-t", "tmpfs", "t", at], capture_output=True).returncode:
    print("no mount")
    sys.exit()
try:
    volume = Volume(at, at + "/receipts")
    volume.open()
    good = volume.publish(Snapshot({}, revision="a"))
    volume.close()
    subprocess.run(["mount", "-o", "remount,ro", at], check=True)
    for action in (volume.open, lambda: volume.publish(Snapshot({}))):
        try:
            action()
        except PublishError as error:
            print("Read-only" in error.what)
    print(volume.current() == good)
finally:
    subprocess.run(["umount", "-l", at], check=True)
