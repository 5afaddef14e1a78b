"""The job queue: hub service that keeps the ledger and runs pipelines.

Owns what is allocated to whom, the jobs with their history, and the decision what runs next.
Layers: :mod:`jobqueue.handlers` → :mod:`jobqueue.services` → :mod:`jobqueue.storage` and the
execution plane; only :mod:`jobqueue.app` constructs objects.
"""
