"""Notifies processes and receivers of a new snapshot. A notification has no data."""
