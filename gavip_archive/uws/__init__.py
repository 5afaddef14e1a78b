"""Asynchronous jobs: the Universal Worker Service pattern 1.1, durable across restarts."""
