"""What others see: logs, metrics, HTTP, status."""
