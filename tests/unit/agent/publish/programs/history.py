"""Fills a volume of 4 MiB with large snapshots, one a minute; says how it went.

python history.py DIRECTORY BYTES NUMBER
"""

import os
import subprocess
import sys

from agent.domain.value import replace
from agent.publish import volume as module
from agent.publish.volume import Volume
from resentry.contract import Snapshot

at, size, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tmpfs = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", at]
if subprocess.run(tmpfs, capture_output=True).returncode:
    print("no mount")
    sys.exit()
module.KEEP_SECONDS = 0  # a minute has passed
try:
    volume = Volume(at, at + "/receipts")
    volume.open()
    large = Snapshot({"LATER_KEY": "x" * (size // 3)})  # stands in three files
    for each in range(number):
        volume.publish(replace(large, revision=str(each)))
    print(len(volume.memory.history()) >= 1, volume.problem == "")
    history = at + "/agent/history"
    print(sum(os.stat(f"{history}/{name}").st_size for name in os.listdir(history)))
finally:
    subprocess.run(["umount", "-l", at], check=True)
