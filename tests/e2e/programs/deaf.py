"""A target that registers for the signal, counts it, and never takes a snapshot up."""

from __future__ import annotations

import os
import signal
import sys

from lab.signalled import hear
from resentry.contract import Receipt
from resentry.receipt_file import Identity, ReceiptFile

number = signal.SIGRTMIN + 6
tid = hear(number, lambda: os.write(1, b"got it\n"))
me = Identity()
receipt = Receipt(
    id=me.id,
    role="api",
    pid=os.getpid(),
    pidns=me.pidns,
    start_time=me.start_time,
    signal=number,
    tid=tid,
)
file = ReceiptFile(sys.argv[1], me)
file.give(receipt)
while True:
    signal.pause()
