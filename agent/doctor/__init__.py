"""Examines a set-up: each finding says what is wrong, since when, why, and what to type."""
