"""Loads libraries without what they import and the agent does not use.

A pod pays for each import: CPU time at its start, and memory as long as it runs. Some
libraries import whole packages for names that only other programs use. `load` puts a
stand-in in the place of each such module while the library is imported.

A stand-in is safe. The first use of a name that it lacks imports the real module. It is
there only during the import, so nobody else gets it. If a new release of the library does
not come up with the stand-ins, the library is imported as a whole.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def later(module: str, name: str) -> Callable[..., Any]:
    """Return a function in the place of another one. The first call imports it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(module), name)(*args, **kwargs)

    return call


def _never(*names: str) -> dict[str, Any]:
    """Return classes in the place of those that the agent never makes objects of."""
    return {name: type(name, (), {}) for name in names}


LIBRARIES: dict[str, dict[str, Mapping[str, Any] | None]] = {
    # It looks into functions for classes that have no docstring.
    "dataclasses": {"inspect": {}},
    # It prints tracebacks, and finds the lines of source for them.
    "logging": {"traceback": {}},
    # It can name months and days in other languages.
    "calendar": {"locale": {}},
    # It can also describe types, as JSON Schema does, and convert to types of others.
    "msgspec": {
        "decimal": _never("Decimal"),
        "msgspec._json_schema": {
            name: later("msgspec._json_schema", name)
            for name in ("schema", "schema_components")
        },
        "msgspec.inspect": {},
        "typing_extensions": None,
        "uuid": {**_never("UUID"), "SafeUUID": SimpleNamespace(unknown=None)},
    },
    # It names asyncio in methods that end in `await`; the others serve other kinds of logs,
    # and its defaults, which `agent.observe.logs` replaces.
    "structlog": {
        "asyncio": {},
        "structlog.dev": {
            "ConsoleRenderer": lambda **_: None,
            "_has_colors": False,
            "set_exc_info": None,
        },
        "structlog.stdlib": {},
        "structlog.testing": _never("ReturnLogger", "ReturnLoggerFactory"),
        "structlog.threadlocal": {},
        "structlog.tracebacks": {"ExceptionDictTransformer": lambda: None},
        "structlog.twisted": {},
        "pickle": {"PicklingError": TypeError},
        "rich": None,  # for colours
        "traceback": {},
    },
    # With metadata urllib3 looks for h2, which would be used only on demand.
    "urllib3": {
        "importlib.metadata": {"version": later("importlib.metadata", "version")},
        "mimetypes": {},
    },
    # It guesses at encodings, but Vault answers in UTF-8. It has authorities of its own and
    # looks for them in archives, but `agent.source.tls` alone says who is trusted.
    "requests": {
        "certifi": {"where": str},
        "chardet": None,
        "charset_normalizer": None,
        "idna": {},
        "tempfile": {},
        "urllib.request": {
            name: later("urllib.request", name)
            for name in (
                "getproxies",
                "getproxies_environment",
                "parse_http_list",
                "proxy_bypass",
                "proxy_bypass_environment",
            )
        },
        "zipfile": {},
    },
    # The class Client has a method for each kind of secret and login: 60 modules.
    "hvac": {"hvac.v1": {"Client": later("hvac.v1", "Client")}},
    # It looks into functions that are deprecated, and copies their docstrings.
    "hvac.adapters": {"inspect": {}, "textwrap": {"dedent": str}},
    # It has a command line of its own, and looks for the name of the system.
    "waitress": {
        "getopt": {},
        "platform": {"system": lambda: ""},
        "traceback": {},
    },
    # It looks for plugins in all that is installed, and names pools of processes.
    "apscheduler.schedulers.base": {
        "apscheduler.executors.pool": _never("ThreadPoolExecutor"),
        "asyncio": {"iscoroutinefunction": later("inspect", "iscoroutinefunction")},
        "importlib.metadata": {
            "entry_points": lambda **_: (),
            "version": lambda _: "3",
        },
        "tzlocal": {"get_localzone": later("tzlocal", "get_localzone")},
    },
    # It has servers of its own for the metrics, and clients to send them.
    "prometheus_client": {
        "http.server": _never("BaseHTTPRequestHandler"),
        "prometheus_client.asgi": {
            "make_asgi_app": later("prometheus_client.asgi", "make_asgi_app")
        },
        "socketserver": _never("ThreadingMixIn"),
        "urllib.error": {"HTTPError": OSError},
        "urllib.request": _never(
            "BaseHandler",
            "HTTPHandler",
            "HTTPRedirectHandler",
            "HTTPSHandler",
            "Request",
            "build_opener",
        ),
        "wsgiref.simple_server": _never(
            "make_server", "WSGIRequestHandler", "WSGIServer"
        ),
    },
}
"""The stand-ins of each library, with what the library takes from each at its import.

`None` is a module that the library does without where it is not installed.
"""


class _StandIn(ModuleType):
    """Has the place of a module that is named and not used."""

    def __init__(self, name: str, has: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(has)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as of the machinery of imports
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def load(library: str) -> None:
    """Import a library without what stands in `LIBRARIES`, if nobody has imported it."""
    if library in sys.modules:
        return
    before = set(sys.modules)
    ours: dict[str, Any] = {
        name: None if has is None else _StandIn(name, has)
        for name, has in LIBRARIES[library].items()
        if name not in before
    }
    sys.modules.update(ours)
    for name, module in ours.items():
        package, _, last = name.rpartition(".")
        if (
            package in sys.modules
        ):  # for `import a.b`, which uses it as an attribute of `a`
            vars(sys.modules[package]).setdefault(last, module)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests warns of what it lacks
            import_module(library)
    except Exception:  # noqa: BLE001 - another release may use at its import what ours names
        root = library.partition(".")[0]
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == root:
                del sys.modules[name]
        for name in ours.keys() & sys.modules.keys():
            del sys.modules[name]
        import_module(library)
    finally:
        for name, module in ours.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]
