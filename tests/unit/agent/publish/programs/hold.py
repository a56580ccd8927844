"""Opens the volume of the argument, and holds it until its input ends."""

import sys

from agent.publish.volume import Volume

volume = Volume(sys.argv[1], sys.argv[1] + "/receipts")
volume.open()
print("open", flush=True)
sys.stdin.read()
