"""Finds out which processes run the current snapshot."""
