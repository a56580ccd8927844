"""Publishes snapshots on the shared volume."""
