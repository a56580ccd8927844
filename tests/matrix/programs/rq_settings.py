"""What `rq worker -c rq_settings` loads first."""

from captures import start

start()
