"""Every benchmark, one after the other, each in a process of its own: `make bench`.

`python -m bench NAME ...` runs those alone. Each writes its JSON file in bench/results;
the page bench/RESULTS.md comes last. Exits 1 if a benchmark failed, or missed a gate.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from bench import BENCHMARKS, page
from bench.report import say


def main() -> int:
    """Run what was asked for; return 1 if one of them says no."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    failed, began = [], time.monotonic()
    for number, name in enumerate(names, 1):
        left = sum(BENCHMARKS[each] for each in names[number - 1 :])
        say(f"[{number}/{len(names)}] {name}; about {left:g} minutes are left")
        done = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False)
        if done.returncode:
            failed.append(name)
    page.main()
    say(f"bench/RESULTS.md, after {(time.monotonic() - began) / 60:.1f} minutes")
    if failed:
        say(f"these failed or missed a gate: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
