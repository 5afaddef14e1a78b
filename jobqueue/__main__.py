"""Entry point of ``python -m jobqueue``."""

from .app import JobQueueApp

if __name__ == "__main__":
    JobQueueApp.launch_instance()
