"""What bench/RESULTS.md shows of bench/results/cluster.json, which `make cluster-test` writes."""

from __future__ import annotations

from bench.report import Section

SECTIONS = (
    Section(
        "cluster",
        "On a Kubernetes node",
        "The image in a real node, several pods, rotations under load. `ready` comes "
        "after `published`: the kubelet asks its probes once a second at most, and tells "
        "the API server afterwards.",
        {
            "kubernetes": "kubernetes/{}",
            "kubernetes, shared PIDs": "shared-pids/{}",
        },
        {
            "pods": "pods",
            "processes": "processes",
            "rotations": "rotations",
            "published_to_confirmed_ms": "published to confirmed by a process (ms)",
            "written_to_last_confirmed_s": "written to confirmed by the last (s)",
            "start_at_100m_s/published": "start at 100m CPU to published (s)",
            "start_at_100m_s/ready": "start at 100m CPU to Ready (s)",
            "rss_mib": "RSS (MiB)",
            "cgroup_anon_mib": "memory of the container, not shareable (MiB)",
            "events": "events",
            "lost": "  lost",
            "duplicated": "  sent twice",
            "requests": "requests",
            "failed_requests": "  failed",
        },
        command="make cluster-test",
    ),
)
