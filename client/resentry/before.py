"""What a process did before `init`: it is not reported, or by another client."""

from __future__ import annotations

import os

import sentry_sdk

from resentry.receipt_file import start_time


def before_init() -> dict[str, int]:
    """Return how long the process ran, how many children it forked, and who sent.

    `children` counts living children that run this program: they were forked without
    `init`. `clients` is 1 if the application has made a client itself. Empty without /proc.
    """
    client = sentry_sdk.get_global_scope().client
    try:
        return {
            "seconds": int(_age_seconds()),
            "children": _children(),
            "clients": int(client.is_active()),
        }
    except (OSError, ValueError, IndexError):
        return {}


def _age_seconds() -> float:
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    return max(0.0, uptime - start_time(os.getpid()) / os.sysconf("SC_CLK_TCK"))


def _children() -> int:
    mine, children = _command("self"), list[str]()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            children += file.read().split()
    return sum(_command(child) == mine for child in children)


def _command(pid: str) -> bytes:
    """Return the command line: an exec'd child has another one."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:  # it has ended
        return b""
