"""Options: how it is sent.

A case `shows` one option: without it, sentry-sdk alone sends something else.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import sentry_sdk
from program import ask_runner, case, main, pause, report_twice, say, start

# How it is sent


@case(shows={"debug": True})
def debug() -> None:
    report_twice()


@case(shows={"spotlight": "http://PARITY_OTHER/stream"})
def spotlight() -> None:
    report_twice()


@case(shows={"http_proxy": "http://PARITY_SINK"})
def http_proxy() -> None:
    report_twice()


@case(shows={"proxy_headers": {"X-Pass": "7"}}, http_proxy="http://PARITY_SINK")
def proxy_headers() -> None:
    report_twice()


TLS: dict[str, Any] = {
    "ca_certs": "PARITY_FILES/ca.pem",
    "cert_file": "PARITY_FILES/client.pem",
    "key_file": "PARITY_FILES/client.key",
}
UNKEYED = TLS | {"cert_file": "PARITY_FILES/client-only.pem", "key_file": None}


@case(shows={"https_proxy": "http://PARITY_OTHER"}, needs="tls", **TLS)
def https_proxy() -> None:
    report_twice()


@case(
    shows={"ca_certs": TLS["ca_certs"]},
    needs="tls",
)
def ca_certs() -> None:
    report_twice()


@case(
    shows={"cert_file": TLS["cert_file"]},
    needs="tls",
    ca_certs=TLS["ca_certs"],
    key_file=TLS["key_file"],
)
def cert_file() -> None:
    report_twice()


@case(shows={"key_file": TLS["key_file"]}, needs="tls", **UNKEYED)
def key_file() -> None:
    report_twice()


def sockets() -> None:
    """Say what was set on the sockets that were connected."""
    report_twice()
    sentry_sdk.flush()
    say(set=sorted(set(_set)))


_set: list[tuple[int, int, int]] = []


def watch_sockets() -> None:
    ours = socket.socket.setsockopt

    def setsockopt(self: socket.socket, *args: Any) -> None:
        _set.append(args)
        ours(self, *args)

    socket.socket.setsockopt = setsockopt  # type: ignore[method-assign,assignment]
    start()
    sockets()


@case(
    shows={"socket_options": [(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)]},
    starts=False,
)
def socket_options() -> None:
    watch_sockets()


@case(shows={"keep_alive": True}, starts=False)
def keep_alive() -> None:
    watch_sockets()


@case(shows={"transport_queue_size": 2})
def transport_queue_size() -> None:
    pause()
    overflow(5)
    ask_runner("received 3")


def overflow(events: int) -> None:
    """Report more than a queue may hold, while the receiver answers nothing."""
    ask_runner("stay")
    ask_runner("hold")
    sentry_sdk.capture_message("on its way")
    ask_runner("received 1")
    for number in range(events):
        sentry_sdk.capture_message(f"queued {number}")
    ask_runner("release")


@case(shows={"shutdown_timeout": 0.3})
def shutdown_timeout() -> None:
    pause()
    ask_runner("stay")
    ask_runner("hold")
    sentry_sdk.capture_message("on its way")
    ask_runner("received 1")
    sentry_sdk.capture_message("too late")
    threading.Thread(target=release_soon, daemon=True).start()


def release_soon() -> None:
    threading.Event().wait(1.0)
    ask_runner("release")


@case(shows={"_experiments": {"max_spans": 2, "transport_compression_level": 0}})
def _experiments() -> None:
    for _ in range(2):
        with sentry_sdk.start_transaction(name="many"):
            for number in range(4):
                with sentry_sdk.start_span(op="step", name=f"step {number}"):
                    pass
        pause()


if __name__ == "__main__":
    main()
