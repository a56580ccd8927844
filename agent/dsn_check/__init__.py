"""The DSN check: asks a new DSN's server whether it accepts the key."""
