"""Logs a DSN and a token in every way: FORM DSN TOKEN."""

import logging
import sys

import structlog

from agent.observe import logs

dsn, token = sys.argv[2:]
logs.configure("info", sys.argv[1])
log = structlog.get_logger()
log.info(f"reading {dsn}", hint=f"token {token}", deep={"a": [dsn, {"b": (token,)}]})
log.info("notes follow", notes=("one note", dsn))
log.error("failed", error=ValueError(dsn))
log.debug(f"not shown {dsn}")
try:
    raise RuntimeError(f"cannot use {dsn} with {token}")
except RuntimeError:
    log.exception("an exception")
logging.getLogger("urllib3").warning("Retrying %s", dsn)
logging.getLogger("apscheduler").warning("not shown")
logging.getLogger("odd").log(35, "a level of its own")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("odd").exception("their exception")
