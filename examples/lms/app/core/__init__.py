"""Settings and observability."""
