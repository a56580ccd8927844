"""Replaces a DSN on purpose: a new key, a new value at the source, the old key retired."""
