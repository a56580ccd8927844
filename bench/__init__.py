"""What the agent costs, measured beside its peer on real servers."""
