"""Whether a new DSN's server takes its key, asked before the DSN is published."""
