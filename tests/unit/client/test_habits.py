"""Odd habits of an application that must simply work: directories and roles."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import threading
import time
from mishaps import *
from resentry.contract import ROLE, decode_receipt

A, B = os.environ["A"], os.environ["B"]
HERE = os.getcwd()

def publish_here(settings):
    "As seen from the directory of the start."
    seen, now = os.environ["RESENTRY_DIR"], os.getcwd()
    os.environ["RESENTRY_DIR"] = os.path.join(HERE, seen)
    try:
        return publish(settings)
    finally:
        os.environ["RESENTRY_DIR"] = seen

def confirms(snapshot, where="volume/receipts", processes=1):
    from pathlib import Path
    def given():
        return [
            (receipt.sequence, receipt.error)
            for path in Path(HERE, where).glob("*.json")
            for receipt in [decode_receipt(path.read_bytes())]
        ]
    wanted = [(snapshot.sequence, None)] * processes
    eventually(lambda: given() == wanted, what=f"{given()} is {wanted}")
"""


# Directories


@pytest.mark.parametrize("named", ["volume", "./volume/", "sub/../volume"])
def test_a_relative_directory_is_the_one_of_the_start(
    go: Run, sink: Sink, tmp_path: Path, named: str
) -> None:
    """A later `chdir` changes nothing: it follows, and gives its receipt."""
    (tmp_path / "sub").mkdir()
    ran = go(
        """
        publish_here({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        os.chdir("/")
        confirms(publish_here({"SENTRY_DSN": B}))
        sentry_sdk.capture_message("follows")
        sentry_sdk.flush(5)
        say(error=resentry.status()["error"])
        """,
        RESENTRY_DIR=named,
    )
    assert ran.said == {"error": None}
    assert messages(sink, 2) == ["follows"]


def test_a_chdir_before_the_first_receipt_changes_nothing(go: Run) -> None:
    """Nor one before the volume is there."""
    go(
        """
        resentry.init(**QUICK)
        os.chdir("/")
        confirms(publish_here({"SENTRY_DSN": A}))
        say()
        """,
        RESENTRY_DIR="volume",
    )


def test_relative_receipts_are_the_ones_of_the_start(go: Run, tmp_path: Path) -> None:
    """`RESENTRY_RECEIPTS` is no different."""
    (tmp_path / "given").mkdir()
    go(
        """
        publish_here({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        os.chdir("/")
        confirms(publish_here({"SENTRY_DSN": B}), "given")
        resentry.close()
        say(left=os.listdir(os.path.join(HERE, "given")))
        """,
        RESENTRY_DIR="volume",
        RESENTRY_RECEIPTS="given",
    )
    assert os.listdir(tmp_path / "given") == []


def test_a_child_that_is_forked_elsewhere_follows_too(go: Run, sink: Sink) -> None:
    """A daemon that forks from the root directory is a target like any other."""
    go(
        """
        publish_here({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        os.chdir("/")
        def work():
            confirms(publish_here({"SENTRY_DSN": B}), processes=2)
            sentry_sdk.capture_message("child")
        in_a_child(work)
        say()
        """,
        RESENTRY_DIR="volume",
    )
    assert messages(sink, 2) == ["child"]


def test_a_second_init_elsewhere_names_another_directory(
    go: Run, tmp_path: Path
) -> None:
    """Relative is relative to where `init` was called."""
    (tmp_path / "sub").mkdir()
    go(
        """
        publish_here({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        os.chdir("sub")
        HERE = os.getcwd()
        other = publish({"SENTRY_DSN": B})
        os.symlink("..data/settings.json", "volume/settings.json")
        resentry.init(**QUICK)
        confirms(other)
        say()
        """,
        RESENTRY_DIR="volume",
    )


def test_a_start_in_a_directory_that_is_gone_does_not_stop_sentry(
    go: Run, sink: Sink
) -> None:
    """A relative name means nothing there, which is told; the environment serves."""
    ran = go(
        """
        os.mkdir("gone")
        "a".encode("idna")  # Python 3.13.0 finds no codec in a directory that is gone
        os.chdir("gone")
        os.rmdir(HERE + "/gone")
        resentry.init(**QUICK)
        sentry_sdk.capture_message("works")
        sentry_sdk.flush(5)
        error = eventually(lambda: resentry.status()["error"], 12, "the error")
        say(error=error)
        """,
        RESENTRY_DIR="volume",
        SENTRY_DSN=sink.dsn(1),
    )
    assert "volume" in ran.said["error"]
    assert messages(sink, 1) == ["works"]


def test_an_absolute_directory_works_where_the_current_one_is_gone(go: Run) -> None:
    """Nothing asks for the current directory without need."""
    go(
        """
        os.mkdir("gone")
        "a".encode("idna")  # Python 3.13.0 finds no codec in a directory that is gone
        os.chdir("gone")
        os.rmdir(HERE + "/gone")
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        confirms(publish({"SENTRY_DSN": B}))
        say()
        """
    )


# The end


def test_a_close_during_a_look_ends_the_thread_at_once(go: Run) -> None:
    """It does not sleep until the next look is due."""
    ran = go(
        """
        import logging
        entered, goes_on = threading.Event(), threading.Event()
        class Slow(logging.Handler):
            def emit(self, record):
                entered.set()
                goes_on.wait()

        def followers():
            return [t.name for t in threading.enumerate() if t.name == "resentry"]

        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        logging.getLogger("resentry").setLevel(logging.INFO)
        logging.getLogger("resentry").addHandler(Slow())
        publish({"SENTRY_DSN": B})
        entered.wait()  # the follower is in the middle of a look
        closing = threading.Thread(target=resentry.close)
        closing.start()
        time.sleep(0.2)  # it has been told to end
        goes_on.set()
        began = time.monotonic()
        eventually(lambda: not followers())
        took = time.monotonic() - began
        closing.join()
        say(took=took)
        """
    )
    assert ran.said["took"] < 0.5


# Nothing is told that is not wrong


def test_a_start_before_the_agent_s_is_no_mistake(go: Run) -> None:
    """Volume and receipts that come a second later cost no warning."""
    ran = go(
        """
        log = Told()
        resentry.init(**QUICK)
        time.sleep(1.5)  # more than a look
        confirms(publish({"SENTRY_DSN": A}))
        say(lines=log.lines, error=resentry.status()["error"])
        """,
        ENVIRONMENT="staging",
    )
    assert ran.said == {"lines": [], "error": None}


# Roles


@pytest.mark.parametrize(
    ("role", "usable"),
    [
        ('""', None),
        ("None", None),
        ("7", None),
        ('"a b/c"', "a_b_c"),
        ("b'celery'", None),
        ('"\\u00e9t\\u00e9"', None),
        ('"api\\n"', None),
        ('" "', None),
        ('"x" * 100_000', "x" * 64),
        ("['api']", None),
        ("Odd()", None),
        ('"https://c0ffee@sentry.example.org/1"', "api"),
    ],
)
def test_a_role_that_is_none_becomes_one_with_a_warning(
    go: Run, sink: Sink, role: str, usable: str | None
) -> None:
    """Sentry works, the receipt has a role, and the log names that, not what was given."""
    ran = go(
        """
        class Odd:
            def __str__(self):
                raise RuntimeError("no name")
            __repr__ = __str__

        log = Told()
        publish({"SENTRY_DSN": A})
        resentry.init(role=eval(os.environ["ROLE_GIVEN"]), **QUICK)
        confirms(publish({"SENTRY_DSN": B}))
        sentry_sdk.capture_message("works")
        sentry_sdk.flush(5)
        role = receipts()[0]["role"]
        say(
            role=role,
            good=bool(ROLE.match(role)),
            status=resentry.status()["role"],
            lines=[line for line in log.lines if line[0] == "WARNING"],
            size=sum(len(text) for _, text in log.lines),
        )
        """,
        ROLE_GIVEN=role,
    )
    assert ran.said["good"]
    assert ran.said["role"] == ran.said["status"]
    assert usable in (None, ran.said["role"])
    ((_, text),) = ran.said["lines"]
    assert "role" in text
    assert ran.said["role"] in text
    assert "c0ffee" not in text
    assert ran.said["size"] < 2000
    assert messages(sink, 2) == ["works"]


@pytest.mark.parametrize(
    ("role", "expected"),
    [('"api"', "api"), ('"a.b_c-9"', "a.b_c-9"), ("Role.WORKER", "celery")],
)
def test_a_good_role_is_taken_as_it_is(go: Run, role: str, expected: str) -> None:
    """Without a warning; a text of an enumeration is a text."""
    ran = go(
        """
        import enum
        class Role(str, enum.Enum):
            WORKER = "celery"

        log = Told()
        publish({"SENTRY_DSN": A})
        resentry.init(role=eval(os.environ["ROLE_GIVEN"]), **QUICK)
        confirms(publish({"SENTRY_DSN": B}))
        say(role=receipts()[0]["role"], lines=log.lines)
        """,
        ROLE_GIVEN=role,
    )
    assert ran.said == {"role": expected, "lines": []}
