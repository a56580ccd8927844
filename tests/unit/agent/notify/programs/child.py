"""Hears the signal: HOW NUMBER.

Its main thread has a handler for the signal, unless it is to have the default action; so
whatever reaches it is seen. A line of the test's is answered; "fork" and "end" make a
child, and end the thread that hears.
"""

import os
import signal
import sys
import threading
import time

from lab.signalled import hear

how, number = sys.argv[1], int(sys.argv[2])
ends: list[bool] = []


def heard() -> None:
    print("heard", flush=True)
    if ends:
        raise StopIteration


if how != "default":
    signal.signal(number, lambda *_: print("handler", flush=True))
tid = (
    threading.get_native_id() if how in ("handler", "default") else hear(number, heard)
)
print(tid, flush=True)
for line in sys.stdin:
    if line == "fork\n":
        child = os.fork()
        if child == 0:
            signal.pause()
        print(child, flush=True)
    elif line == "end\n":
        ends.append(True)
        (thread,) = (t for t in threading.enumerate() if t.native_id == tid)
        signal.pthread_kill(thread.ident or 0, number)
        thread.join()
        while os.path.exists(f"/proc/self/task/{tid}"):
            time.sleep(0.001)
        print("ended", flush=True)
    else:
        print("alive", flush=True)
