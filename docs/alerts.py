"""The runbook's entries of the alerts, made of the annotations in k8s/monitoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent.parent / "k8s" / "monitoring"
RULES = (FOLDER / "rules.yaml", FOLDER / "application-rules.yaml")

INTRODUCTION = """
# Alerts

The rules in [k8s/monitoring](../k8s/monitoring) have these alerts. Severity `critical` means that
errors do not reach Sentry, that changes do not reach processes, or that nobody could see either.

Each entry says what to type. In Kubernetes, type it in the agent's container of the pod that the
alert names:

    kubectl -n NAMESPACE exec POD -c resentry-agent -- resentry-agent status

For an alert of the bridge, type it in the bridge's container:

    kubectl -n NAMESPACE exec deployment/resentry-bridge -- resentry-agent doctor --area bridge
"""

Rule = dict[str, Any]


def rules() -> list[Rule]:
    """Return each alert of the rules, in order."""
    files = [yaml.safe_load(path.read_text()) for path in RULES]
    groups = [group for file in files for group in file["spec"]["groups"]]
    every = [rule for group in groups for rule in group["rules"]]
    return [rule for rule in every if "alert" in rule]


def entries() -> str:
    """Return an entry for each alert: what it means, how to see it, what to do, whom to wake."""
    parts = [INTRODUCTION]
    for rule in rules():
        notes = rule["annotations"]
        name = rule["alert"]
        lasting = f", after {rule['for']}" if "for" in rule else ""
        parts.append(
            f'\n<a id="{name.lower()}"></a>\n\n## {name}: {notes["summary"].rstrip(".")}\n\n'
            f"Severity {rule['labels']['severity']}{lasting}.\n\n"
            f"    {rule['expr'].strip()}\n\n"
            f"{notes['meaning']}\n\n"
            f"See: `{notes['see']}`\n\n"
            f"Do: {notes['do']}\n\n"
            f"{notes['wake']}\n"
        )
    return "".join(parts)
