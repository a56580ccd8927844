"""The metrics of the source: Vault's token, stale reads, and how Vault is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import Gauge

from resentry.formats import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry


class SourceMetrics:
    """What the source says of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._kind = Gauge(
            "resentry_source_info",
            "1, with the kind of the source: `vault`, or `files` for a mounted one.",
            ["kind"],
            registry=registry,
        )
        self._unverified = Gauge(
            "resentry_vault_tls_unverified",
            "1 if Vault's certificate is not checked "
            "(`RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY`), else 0.",
            registry=registry,
        )
        self._unencrypted = Gauge(
            "resentry_vault_unencrypted",
            "1 if Vault is asked over http at another host, where the network can read the "
            "token and the secret, else 0.",
            registry=registry,
        )
        self._stale_reads = Gauge(
            "resentry_vault_stale_reads",
            "The number of reads since the agent started that gave an older version of a "
            "secret than before. Such a read changes nothing.",
            registry=registry,
        )
        self._stale_since = Gauge(
            "resentry_vault_stale_since_timestamp_seconds",
            "When the stale reads began that go on now; 0 if none go on.",
            registry=registry,
        )
        self._calls = Gauge(
            "resentry_vault_token_calls",
            "The number of logins and renewals that Vault granted since the agent started.",
            ["call"],
            registry=registry,
        )
        self._ends = Gauge(
            "resentry_vault_token_ends_timestamp_seconds",
            "When Vault's token expires. The metric is missing if the token never expires, "
            "or if that is not known.",
            ["replaced"],
            registry=registry,
        )

    def show(self, report: Mapping[str, Any]) -> None:
        """Show the source's own report."""
        self._kind.clear()
        if "kind" in report:
            self._kind.labels(report["kind"]).set(1)
        self._unverified.set(report.get("tls_verified") is False)
        self._unencrypted.set(report.get("encrypted") is False)
        self._stale_reads.set(report.get("stale_reads", 0))
        since = report.get("stale_since")
        self._stale_since.set(moment(since) if since else 0)
        for call in ("logins", "renewals"):
            if call in report:
                self._calls.labels(call).set(report[call])
        self._ends.clear()
        if ends := report.get("token_ends_at"):
            replaced = "yes" if report.get("token_replaced") else "no"
            self._ends.labels(replaced).set(moment(ends))
