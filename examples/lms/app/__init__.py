"""A small LMS backend: FastAPI in front, Celery behind, resentry in both."""
