"""What the library takes from sentry-sdk that is not public, and life without it."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
import urllib3
from arrivals import messages
from scenario import QUICK
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.transport import HttpTransport

import resentry
from lab.sink import Sink
from resentry.process import Home, here
from resentry.sdk import build, parts, versions

Run = Callable[..., Any]
PACKAGE = Path(resentry.__file__).parent
CAN_STREAM = "trace_lifecycle" in DEFAULT_OPTIONS
PRIVATE = [
    (owner, where, name)
    for table in (versions.PRIVATE, versions.STREAMING if CAN_STREAM else {})
    for owner, (where, names) in table.items()
    for name in names
]
PUBLIC = {
    "sentry_sdk": set(),
    "sentry_sdk.consts": {"DEFAULT_OPTIONS"},
    "sentry_sdk.envelope": {"Envelope"},
    "sentry_sdk.integrations.logging": {"ignore_logger"},
    "sentry_sdk.integrations.opentelemetry.consts": {
        "SENTRY_BAGGAGE_KEY",
        "SENTRY_TRACE_KEY",
    },
    "sentry_sdk.transport": {"HttpTransport", "Transport"},
    "sentry_sdk.utils": {"Dsn"},
}
"""What modules outside of `sdk` may import, by module."""


@pytest.fixture
def environ(sink: Sink, volume: str) -> dict[str, str]:
    return {"RESENTRY_DIR": volume, "A": sink.dsn(1), "B": sink.dsn(2)}


# The names


@pytest.mark.parametrize(
    ("where", "name"),
    [pytest.param(where, name, id=f"{o}.{name}") for o, where, name in PRIVATE],
)
def test_a_private_name_is_there(where: Any, name: str) -> None:
    """Each name that a swap needs exists in this version of sentry-sdk."""
    assert hasattr(where, name)
    assert versions.missing() == []


@pytest.mark.process
def test_a_client_has_the_parts_that_hold_items_back() -> None:
    """A new client's parts are known by these attributes, and can be flushed."""
    client = sentry_sdk.Client(dsn="http://0123456789@127.0.0.1:9/1", enable_logs=True)
    assert {"log_batcher", "session_flusher"} <= set(parts.COMPONENTS)
    assert client.log_batcher in parts.components(client)
    assert client.session_flusher in parts.components(client)
    assert hasattr(client, "monitor")
    parts.flush_components(parts.components(client))
    client.close(timeout=0)


def test_a_forked_child_s_parts_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is of the same kind, empty, with locks of its own, and is kept then."""
    options = {"dsn": "http://0123456789@127.0.0.1:9/1", "release": "one", **QUICK}
    client = build.new_client({}, options, pii=False)
    names = [*parts.COMPONENTS, "monitor"]
    before = {name: getattr(client, name, None) for name in names}
    monkeypatch.setattr("resentry.process._home", Home(parent=here()))
    for name, part in before.items():
        made = getattr(client, name, None)
        assert type(made) is type(part)
        assert part is None or made is not part
        assert made is getattr(client, name, None)
    client.close(timeout=0)


@pytest.mark.process
def test_the_transport_s_connections_can_be_noted() -> None:
    """The pool is urllib3's, and makes a connection where a forked child can know it."""
    transport = HttpTransport(
        sentry_sdk.Client(dsn="http://0123456789@127.0.0.1:9/1").options
    )
    pool = transport._pool
    assert isinstance(pool, urllib3.PoolManager)
    for pool_class in pool.pool_classes_by_scheme.values():
        assert callable(pool_class.ConnectionCls._new_conn)


@pytest.mark.slow
def test_private_names_stand_in_one_package() -> None:
    """No other module of the library takes from the SDK what is not public."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "sdk":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in PUBLIC:
                names = {alias.name for alias in node.names}
                public = PUBLIC[node.module] or {"Client", "Scope"}
                assert names <= public, f"{path.name}: {names}"
            elif isinstance(node, ast.ImportFrom):
                assert not str(node.module).startswith("sentry_sdk"), path.name


def test_no_private_name_is_forgotten() -> None:
    """What `sdk` touches of others with an underscore is listed in `PRIVATE`."""
    trees = [ast.parse(path.read_text()) for path in (PACKAGE / "sdk").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    touched = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr)
    }
    own = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    tables = (versions.PRIVATE, versions.STREAMING)
    listed = {name for table in tables for _, names in table.values() for name in names}
    assert touched - own - listed == {"_pool"}, "_make_pool stands for its result"


def test_the_range_is_the_distribution_s() -> None:
    """pyproject.toml and the code name the same oldest and first unknown version."""
    text = (PACKAGE.parent / "pyproject.toml").read_text()
    found = re.search(r'"sentry-sdk>=(\d+)\.(\d+),<(\d+)"', text)
    assert found
    oldest, beyond = (int(found[1]), int(found[2])), (int(found[3]),)
    assert (oldest, beyond) == (versions.OLDEST, versions.BEYOND)


# The fallback

TAKE_AWAY = {
    "a function": """
        import sentry_sdk.profiler.transaction_profiler
        del sentry_sdk.profiler.transaction_profiler.setup_profiler
    """,
    "a module": """
        import sys
        import sentry_sdk
        sys.modules["sentry_sdk.profiler.transaction_profiler"] = None
        del sentry_sdk.profiler.transaction_profiler
    """,
    "a version": """
        import sentry_sdk
        sentry_sdk.VERSION = "3.1.0"
    """,
}


@pytest.mark.process
@pytest.mark.parametrize(
    ("what", "lack"),
    [
        ("a function", "transaction_profiler.setup_profiler"),
        ("a module", "transaction_profiler.setup_profiler"),
        ("a version", "3.1.0 is not supported (>=2.43,<3)"),
    ],
)
def test_an_unknown_sdk_works_with_the_safe_fallback(
    run: Run, sink: Sink, environ: dict[str, str], what: str, lack: str
) -> None:
    """It swaps, sends late captures to the old DSN, survives a fork, and says so."""
    ran = run(
        """
        import threading
        import warnings
        warnings.simplefilter("default")  # from Python 3.12 on a fork is one
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        old = sentry_sdk.get_client()
        for number in range(20):
            sentry_sdk.capture_message("before")
        take_up({"SENTRY_DSN": os.environ["B"]})
        old.capture_event({"message": "late"})
        old.flush(5)
        child = os.fork()
        if child == 0:
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(5)
            os._exit(0)
        os.waitpid(child, 0)
        sentry_sdk.capture_message("after")
        take_up({"SENTRY_DSN": os.environ["A"]})
        take_up({"SENTRY_DSN": os.environ["B"]})
        resentry.close()
        eventually(lambda: threading.active_count() <= 3, 50)  # monitors sleep for 10 s
        say(sdk=resentry.status()["sdk"], error=resentry.status()["error"])
        """,
        first=TAKE_AWAY[what],
        **environ,
    )
    assert lack in ran.said["sdk"]
    assert ran.said["error"] is None
    assert ran.log.count("falling back to simple swaps; events may be lost") == 1
    assert sorted(messages(sink, 1)) == ["before"] * 20 + ["late"]
    assert sorted(messages(sink, 2)) == ["after", "child"]
    assert sink.duplicates() == 0


# Where the platform has less

WINDOWS = ("O_NOFOLLOW", "O_NONBLOCK", "geteuid", "getuid", "fchmod", "fork")
NO_EXTRAS = """
    import ctypes, os, select, signal, sys
    import resource, subprocess, lab.process, sentry_sdk
    def refuse(*args, **kwargs):
        raise OSError("no libc here")
    ctypes.CDLL = refuse
    del os.register_at_fork, os.eventfd, os.eventfd_read, os.eventfd_write
    del signal.SIGRTMIN, signal.SIGRTMAX, select.poll
"""


@pytest.mark.process
@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_polling_serves_where_the_platform_has_less(
    run: Run, sink: Sink, environ: dict[str, str], volume: str, platform: str
) -> None:
    """No inotify, no fork, no real-time signal: a snapshot is taken up all the same."""
    lacks = [f"del os.{name}" for name in WINDOWS if platform == "win32"]
    first = [*map(str.strip, NO_EXTRAS.splitlines()), *lacks]
    first = [line if line[:5] != "raise" else f"    {line}" for line in first]
    scrap = Path(volume, "receipts", "0123456789abcdef.json")
    scrap.parent.mkdir(parents=True)
    scrap.write_text("{}")
    ran = run(
        """
        os.utime(os.environ["SCRAP"], (1, 1))
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        sentry_sdk.capture_message("before")
        second = take_up({"SENTRY_DSN": os.environ["B"]})
        sentry_sdk.capture_message("after")
        eventually(lambda: [r["sequence"] for r in receipts() if r] == [2])
        receipt, tally = max(receipts(), key=len), resentry.status()["tally"]
        resentry.close()
        say(signal=receipt["signal"], watch=receipt["watch"], faults=tally["faults"])
        """,
        first="\n".join([*first, f"sys.platform = {platform!r}", ""]),
        SCRAP=str(scrap),
        **environ,
    )
    assert ran.said == {"signal": None, "watch": "stat", "faults": 0}
    assert messages(sink, 1) == ["before"]
    assert messages(sink, 2) == ["after"]


# Threads, captures under way


@pytest.mark.process
def test_what_we_send_is_no_span_of_a_request(
    run: Run, environ: dict[str, str]
) -> None:
    """The sending thread begins in a request, and knows nothing of it."""
    ran = run(
        """
        from sentry_sdk.integrations.stdlib import StdlibIntegration
        from sentry_sdk.integrations.threading import ThreadingIntegration

        seen = []
        def spans(event, hint):
            seen.extend(span["description"] for span in event["spans"])
            return event

        publish({"SENTRY_DSN": os.environ["A"], "SENTRY_TRACES_SAMPLE_RATE": 1.0})
        resentry.init(
            integrations=[StdlibIntegration(), ThreadingIntegration()],
            before_send_transaction=spans,
            **QUICK,
        )
        with sentry_sdk.start_transaction(name="a request"):
            sentry_sdk.capture_message("in it")
            sentry_sdk.flush(5)
        say(spans=seen)
        """,
        **environ,
    )
    assert ran.said == {"spans": []}


@pytest.mark.process
def test_an_old_client_is_not_drained_while_something_is_captured_in_it(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """However long a `before_send` takes, `drained` means that its event was sent."""
    ran = run(
        """
        import threading, time
        began, ended = threading.Event(), []
        def slow(event, hint):
            began.set()
            time.sleep(0.3)
            ended.append(1)
            return event

        staging = {"SENTRY_ENVIRONMENT": "staging"}
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(before_send=slow, **QUICK)
        thread = threading.Thread(target=sentry_sdk.capture_message, args=["slow"])
        thread.start()
        began.wait()
        take_up({"SENTRY_DSN": os.environ["B"], **staging})
        say(ended=len(ended))
        os._exit(0)
        """,
        **environ,
    )
    assert ran.said == {"ended": 1}
    assert messages(sink, 1) == ["slow"]


@pytest.mark.process
def test_a_flush_waits_for_what_came_late_to_an_old_client(
    run: Run, sink: Sink, environ: dict[str, str]
) -> None:
    """Also when that one was drained before, and has to send to the old DSN after all."""
    sink.answer(1, "ok", seconds=0.1)
    run(
        """
        publish({"SENTRY_DSN": os.environ["A"]})
        resentry.init(**QUICK)
        old = sentry_sdk.get_client()
        take_up({"SENTRY_DSN": os.environ["B"], "SENTRY_ENVIRONMENT": "staging"})
        old.capture_event({"message": "late"})
        sentry_sdk.flush(5)
        say()
        os._exit(0)
        """,
        **environ,
    )
    assert messages(sink, 1) == ["late"]
