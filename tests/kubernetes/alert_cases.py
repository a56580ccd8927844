"""For each alert, what makes it fire and what does not: series as promtool reads them.

A series is a minute's value each. In these tests the time begins at 0, at the first value.
"""

from __future__ import annotations

from typing import NamedTuple

Series = dict[str, str]
PASSED = "resentry_pass_timestamp_seconds"
READ = "resentry_last_success_timestamp_seconds"
AGENT = 'resentry_agent_info{version="1",commit="",python="3"}'
POLL = {"resentry_poll_seconds": "60x2000"}
FAILING = 'resentry_failing_since_timestamp_seconds{error="%s"}'
TUNING_PROBLEM = 'resentry_problem{setting="RESENTRY_TUNING_PATH"}'
ANSWERS = 'resentry_dsn_answers{dsn="5b1c9c3f2e77",kind="%s"}'
CHECK = 'resentry_dsn_check_verdict{dsn="%s",verdict="%s"}'
ENVELOPES = 'resentry_dsn_envelopes_total{dsn="5b1c9c3f2e77",kind="accepted"}'
SILENT = 'resentry_targets_silent{role="api",reason="%s"}'
STARTED = 'resentry_targets_started_total{role="api"}'
TARGETS = 'resentry_targets{role="api",state="%s"}'
CEILINGS_END = "resentry_ceilings_end_timestamp_seconds"
TALLY = 'resentry_tally_total{tally="%s"}'
TOKEN = 'resentry_vault_token_ends_timestamp_seconds{replaced="%s"}'
TRACES = 'resentry_rate{role="api",setting="SENTRY_TRACES_SAMPLE_RATE",bound="highest"}'
BUCKET = 'resentry_propagation_seconds_bucket{le="%s"}'
BRIDGE = 'resentry_bridge_info{version="1"}'
NOT_ASKED = 'resentry_bridge_escalation_failures{alertmanager="am:9093"}'
ACKNOWLEDGED = 'resentry_bridge_acknowledge_seconds_bucket{le="%s"}'
AWAY = 'resentry_bridge_alertmanager_failures{alertmanager="am:9093"}'
WEBHOOKS = 'resentry_bridge_webhooks_total{resource="event_alert",result="%s"}'
GAPS = 'resentry_bridge_gaps_total{gap="end"}'


class Case(NamedTuple):
    """After so many minutes the alert fires with the first series, and not with the others."""

    minutes: int
    fires: Series
    quiet: tuple[Series, ...]


def steady(series: str, value: float = 1, otherwise: float = 0) -> Case:
    """Return the case of a series that is bad for a long time, and one that is good."""
    long, short = f"{value}x2000", f"{otherwise}x2000"
    return Case(1500, {series: long}, ({series: short}, {}))


def while_up(minutes: int, series: str, *quiet: str) -> Case:
    """Return the case of a series of 1 for so many minutes, and of others that are quiet."""
    others = tuple({other: f"1x{minutes}"} for other in quiet)
    gone = {series: f"1x1 0x{minutes}"}
    return Case(minutes, {series: f"1x{minutes}"}, (*others, gone))


CASES = {
    "ResentryAbsent": Case(11, {}, ({AGENT: "1x20"},)),
    "ResentryAgentsGone": Case(40, {AGENT: "1x5"}, ({AGENT: "1x60"}, {})),
    "ResentryAgentDown": Case(
        11,
        {'up{job="shop/resentry"}': "0x20"},
        ({'up{job="shop/resentry"}': "1x20"}, {'up{job="shop/other"}': "0x20"}),
    ),
    "ResentryAgentRestarts": Case(
        40,
        {"resentry_started_timestamp_seconds": "0x5 300x5 600x5 900x5 1200x40"},
        ({"resentry_started_timestamp_seconds": "0x5 300x80"},),
    ),
    "ResentryPassesStopped": Case(
        20, {PASSED: "60x30", **POLL}, ({PASSED: "0+60x30", **POLL},)
    ),
    "ResentrySettingWrong": Case(
        12,
        {'resentry_problem{setting="RESENTRY_HTTP_LISTEN"}': "1x20"},
        ({}, {FAILING % "SourceDown": "1x20"}, {TUNING_PROBLEM: "1x20"}),
    ),
    "ResentryLogLinesLost": Case(
        30,
        {"resentry_log_lines_lost_total": "0x5 7x40"},
        ({"resentry_log_lines_lost_total": "7x40"},),
    ),
    "ResentryVersionsDiffer": Case(
        1450,
        {
            'resentry_agent_info{version="0.1.0",commit="",python="3"}': "1x2000",
            'resentry_agent_info{version="0.2.0",commit="",python="3"}': "1x2000",
        },
        ({'resentry_agent_info{version="0.1.0",commit="",python="3"}': "1x2000"},),
    ),
    "ResentryNotifyFails": Case(
        20,
        {'resentry_notify_failures{receiver="hook:80"}': "9x30"},
        ({'resentry_notify_failures{receiver="hook:80"}': "2x30"},),
    ),
    "ResentrySourceFails": Case(
        20, {READ: "60x30", **POLL}, ({READ: "0+60x30", **POLL},)
    ),
    "ResentryCandidateRefused": while_up(
        7, 'resentry_candidate_refused{setting="SENTRY_DSN"}', FAILING % "SourceDown"
    ),
    "ResentrySourceStale": steady("resentry_vault_stale_since_timestamp_seconds", 60),
    "ResentryTokenEnds": Case(
        90,
        {TOKEN % "no": "50000x200"},
        (
            {TOKEN % "yes": "50000x200"},
            {TOKEN % "no": "500000x200"},
            {TOKEN % "no": "3600+60x200"},
        ),
    ),
    "ResentryVaultUnprotected": Case(
        70,
        {
            "resentry_vault_tls_unverified": "1x90",
            "resentry_vault_unencrypted": "0x90",
        },
        (
            {
                "resentry_vault_tls_unverified": "0x90",
                "resentry_vault_unencrypted": "0x90",
            },
        ),
    ),
    "ResentryVolumeUnwritable": while_up(
        4, FAILING % "PublishError", FAILING % "VolumeBusy"
    ),
    "ResentryTwoAgents": while_up(7, FAILING % "VolumeBusy", FAILING % "PublishError"),
    "ResentryVolumeRepaired": Case(
        20,
        {"resentry_volume_repairs_total": "0x5 1x40"},
        ({"resentry_volume_repairs_total": "1x40"},),
    ),
    "ResentryTargetsOverdue": while_up(
        7,
        'resentry_rollout_state{state="overdue"}',
        'resentry_rollout_state{state="waiting"}',
    ),
    "ResentryTargetsRefuse": while_up(3, TARGETS % "refused", TARGETS % "overdue"),
    "ResentryNoTargets": Case(
        35,
        {"resentry_targets_seen": "0x60", "resentry_current_sequence": "3x60"},
        (
            {"resentry_targets_seen": "0x60", "resentry_current_sequence": "0x60"},
            {"resentry_targets_seen": "2x60", "resentry_current_sequence": "3x60"},
        ),
    ),
    "ResentryReceiptsUnknown": Case(
        7,
        {"resentry_rollout_unknown": "0x20", "resentry_rollout_obstacle": "1x20"},
        ({"resentry_rollout_unknown": "0x20", "resentry_rollout_obstacle": "0x20"},),
    ),
    "ResentryOldDsnHeld": steady("resentry_targets_holding", 2),
    "ResentryProcessesRestart": Case(
        60,
        {STARTED: "0+1x90", TARGETS % "drained": "1x90"},
        (
            {STARTED: "0x10 4x90", TARGETS % "drained": "4x90"},
            {STARTED: "9x90", TARGETS % "drained": "1x90"},
        ),
    ),
    "ResentryLibraryFaults": Case(
        20,
        {TALLY % "faults": "0x5 1x40"},
        ({TALLY % "faults": "3x40"}, {TALLY % "rerouted": "0x5 1x40"}),
    ),
    "ResentryPropagationSlow": Case(
        60,
        {
            BUCKET % "300": "0x5 0x90",
            BUCKET % "900": "0x5 9x90",
            BUCKET % "+Inf": "0x5 9x90",
        },
        (
            {
                BUCKET % "300": "0x5 9x90",
                BUCKET % "900": "0x5 9x90",
                BUCKET % "+Inf": "0x5 9x90",
            },
        ),
    ),
    "ResentryDsnRefused": while_up(
        3,
        ANSWERS % "refused",
        ANSWERS % "accepted",
        'resentry_dsn_answers{dsn="other",kind="refused"}',
    ),
    "ResentryDsnDead": while_up(
        3,
        CHECK % ("5b1c9c3f2e77", "rejected"),
        CHECK % ("5b1c9c3f2e77", "rejected_once"),
        CHECK % ("5b1c9c3f2e77", "unknown"),
        CHECK % ("other", "rejected"),
    ),
    "ResentrySentryFails": while_up(
        15, ANSWERS % "unreached", ANSWERS % "refused", ANSWERS % "limited"
    ),
    "ResentryRateLimited": while_up(40, ANSWERS % "limited", ANSWERS % "accepted"),
    "ResentryEventsDropped": Case(
        10,
        {TALLY % "dropped": "0x5 4x40"},
        ({TALLY % "dropped": "4x40"}, {TALLY % "rerouted": "0x5 4x40"}),
    ),
    "ResentryTelemetryStopped": Case(
        500,
        {ENVELOPES: "0+2x200 400x600"},
        ({ENVELOPES: "0+2x800"}, {ENVELOPES: "7x800"}),
    ),
    "ResentryErrorsOff": while_up(7, SILENT % "errors_off", SILENT % "no_dsn"),
    "ResentryNotSending": while_up(15, SILENT % "no_dsn", SILENT % "switched_off"),
    "ResentryRoleSwitchedOff": Case(
        1450,
        {SILENT % "switched_off": "1x2000"},
        ({SILENT % "switched_off": "1x1000 0x1000"}, {SILENT % "no_dsn": "1x2000"}),
    ),
    "ResentryTracesStopped": Case(
        60, {TRACES: "0.1x30 0x60"}, ({TRACES: "0x90"}, {TRACES: "0x30 0.1x60"})
    ),
    "ResentryTracesHigh": steady(TRACES, 1.0, 0.5),
    "ResentryBoostForgotten": Case(
        250, {"resentry_boosts": "1x300"}, ({"resentry_boosts": "1x60 0x60 1x180"},)
    ),
    "ResentryCeilingForgotten": Case(
        250, {CEILINGS_END: "9x300"}, ({CEILINGS_END: "9x60 0x60 9x180"}, {})
    ),
    "ResentryTuningFileRefused": Case(
        12,
        {TUNING_PROBLEM: "1x20"},
        ({'resentry_problem{setting="RESENTRY_HTTP_LISTEN"}': "1x20"}, {}),
    ),
    "ResentryTargetsTooOld": steady("resentry_targets_too_old"),
    "ResentryRollbackHeld": steady("resentry_rollback_held"),
    "ResentryBridgeGone": Case(40, {BRIDGE: "1x5"}, ({BRIDGE: "1x60"}, {})),
    "ResentryBridgeStoreFails": steady("resentry_bridge_store_failing"),
    "ResentryBridgeCannotPost": steady(AWAY, 3),
    "ResentryBridgeRejected": Case(
        30,
        {WEBHOOKS % "not_understood": "0x5 1x60"},
        ({WEBHOOKS % "not_understood": "1x60"}, {WEBHOOKS % "refused": "0+9x60"}),
    ),
    "ResentryWebhooksLost": Case(30, {GAPS: "0x5 1x60"}, ({GAPS: "1x60"}, {})),
    "ResentryEscalationFails": steady(NOT_ASKED, 5, 3),
    "ResentryCanaryRefused": steady("resentry_bridge_canary_failures", 5, 3),
    "ResentryWebhooksSlow": Case(
        30,
        {
            ACKNOWLEDGED % "0.5": "0x60",
            ACKNOWLEDGED % "1": "0+9x60",
            ACKNOWLEDGED % "+Inf": "0+9x60",
        },
        ({ACKNOWLEDGED % "0.5": "0+9x60", ACKNOWLEDGED % "+Inf": "0+9x60"},),
    ),
    "ResentryGapsFail": steady("resentry_bridge_fill_failures", 5, 3),
}
