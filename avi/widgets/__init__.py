"""Widgets of the framework: forms, jobs, results, errors; plain ipywidgets, styled by the Voilà templates.

Invariants: text of others (job titles, messages, file names) is escaped before it becomes HTML; no traceback is shown;
whatever takes long runs in a thread, so that its Cancel button works.
"""

from __future__ import annotations

from . import errors
from .form import Form, form
from .job import JobArea, JobWidget
from .tasks import Task
from .theme import box, card, html, split

__all__ = ["Form", "JobArea", "JobWidget", "Task", "box", "card", "errors", "form", "html", "split"]
