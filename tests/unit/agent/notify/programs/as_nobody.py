"""Signals a process as nobody: its pid, thread, signal and start time, and 1 for an old kernel."""

import os
import sys

from agent.domain.rollout import LiveTarget
from agent.notify.signal import Signals
from resentry.contract import Receipt

os.setuid(65534)
pid, tid, number, started, is_old = map(int, sys.argv[1:])
if is_old:
    os.pidfd_open = lambda *_: (_ for _ in ()).throw(OSError(22, "no"))
space = os.stat("/proc/self/ns/pid").st_ino
receipt = Receipt(
    id="a" * 16,
    role="api",
    pid=pid,
    pidns=space,
    start_time=started,
    signal=number,
    tid=tid,
)
signals = Signals()
for _ in range(2):
    print(signals.notify([LiveTarget(receipt, 0)])["a" * 16])
