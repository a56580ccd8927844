"""Who has taken the current snapshot up."""
