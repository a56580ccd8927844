"""What others see of the agent: log, metrics, HTTP, status."""
