"""Asks every pod of a service what its processes run."""
