"""Where snapshots go: the shared volume."""
