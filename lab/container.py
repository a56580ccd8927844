"""What the kernel says of the agent in its container, asked from within."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lab.kubectl import Kubectl

AGENT = "resentry-agent"
MIB = 1 << 20

# The image has a shell and coreutils, and nothing more. Of the two kinds of cgroups
# one is there; with a shared PID namespace /proc shows the whole pod.
_ASK = """
for turn in 1 2 3; do
  date +now:%s.%N
  read uptime rest </proc/uptime
  echo uptime:$uptime
done
for pid in /proc/[0-9]*; do echo "stat:$(cat $pid/stat)"; cat $pid/status; done 2>/dev/null
cd /sys/fs/cgroup
cat memory/memory.stat memory.stat memory/memory.oom_control memory.events 2>/dev/null
echo usage $(cat memory/memory.usage_in_bytes memory.current 2>/dev/null)
"""


class Figures(NamedTuple):
    """One agent's figures. Of the cgroup: what its limit counts."""

    started: float
    """When its process was born, in seconds since the epoch."""
    rss_mib: float
    """Of its process, shared pages included."""
    anon_mib: float
    """Of the cgroup: anonymous memory."""
    usage_mib: float
    """Of the cgroup: with what it has in memory volumes, and pages of files."""
    oom_kills: int


def figures(cluster: Kubectl, namespace: str, pod: str) -> Figures:
    """Return the figures of the agent in that pod."""
    text = cluster.kubectl(
        *("exec", "-n", namespace, pod, "-c", AGENT, "--", "sh", "-c", _ASK)
    )
    # pid (name) state and, as the 22nd, the start in hundredths of a second since boot.
    ticks = int(_first(rf"^stat:\d+ \({AGENT}\) (.*)$", text).split()[19])
    clocks = re.findall(r"^now:(\S+)\nuptime:(\S+)", text, re.MULTILINE)
    # The highest is that of the turn in which it was not throttled between the two.
    booted = max(float(now) - float(uptime) for now, uptime in clocks)
    status = text[text.index(f"Name:\t{AGENT}\n") :]
    return Figures(
        started=booted + ticks / 100,
        rss_mib=int(_first(r"^VmRSS:\s+(\d+)", status)) / 1024,
        anon_mib=int(_first(r"^(?:total_rss|anon) (\d+)", text)) / MIB,
        usage_mib=int(_first(r"^usage (\d+)", text)) / MIB,
        oom_kills=int(_first(r"^oom_kill (\d+)", text)),
    )


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise RuntimeError(f"no {pattern} in:\n{text[:2000]}")
    return found[1]
