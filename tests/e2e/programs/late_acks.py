"""The example's worker with late acknowledgement, which has the most tasks in its hands."""

from app.worker import celery

celery.conf.task_acks_late = True
