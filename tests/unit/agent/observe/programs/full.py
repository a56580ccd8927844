"""Does what `planted.py` does where no log line can be written, and lives."""

import runpy
import sys
from pathlib import Path

import structlog

sys.stderr = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115 - until the end
runpy.run_path(str(Path(__file__).with_name("planted.py")))
structlog.get_logger().exception("the end", exc_info=ValueError("x" * 100000))
print("lives")
