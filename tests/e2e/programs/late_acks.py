"""The example's worker with late acknowledgement, which has the most tasks in its hands."""

from importlib import import_module

celery = import_module("app.worker").celery
celery.conf.task_acks_late = True
