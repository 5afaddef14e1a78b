"""A form made from the declared parameters of a pipeline.

Invariant: labels, units, ranges, choices and defaults come from ``avi.yaml``; what the form accepts is decided by the
same check as everywhere (:mod:`gavip_api.parameters`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from avi.pipelines import Job, Pipeline, pipeline
from gavip_api.errors import InvalidInput
from gavip_api.parameters import ParameterSpec

from . import errors
from .job import JobArea
from .theme import escape, html


def _label(name: str, spec: ParameterSpec) -> str:
    text = spec.title or name.replace("_", " ").capitalize()
    return f"{text} [{spec.unit}]" if spec.unit else text


def _range(spec: ParameterSpec) -> str:
    least = spec.minimum if spec.minimum is not None else spec.exclusive_minimum
    most = spec.maximum if spec.maximum is not None else spec.exclusive_maximum
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    if least is not None:
        return f"at least {least:g}"
    return f"at most {most:g}" if most is not None else ""


def field(name: str, spec: ParameterSpec) -> Any:
    """Return the ipywidgets control of one parameter."""
    label = _label(name, spec)
    given = {"description": label, "tooltip": spec.description or label}
    made: Any
    if spec.enum is not None:
        made = w.Dropdown(options=list(spec.enum), value=spec.default or spec.enum[0], **given)
    elif spec.type in {"number", "integer"} and spec.default is None:
        # a number field cannot be empty, and a made-up value must not pass for the user's
        made = w.Text(placeholder="required", **given)
    elif spec.type == "boolean":
        made = w.Checkbox(value=bool(spec.default), indent=False, **given)
    elif spec.type == "integer":
        made = w.IntText(value=int(spec.default or 0), **given)
    elif spec.type == "number":
        made = w.FloatText(value=float(spec.default or 0), **given)
    else:
        made = w.Text(value=str(spec.default or ""), **given)
    if spec.type != "boolean":
        made.add_class("gavip-field")
    return made


def _number(value: Any, kind: str) -> Any:
    """Turn the text of a number field into the number; other text stays, for the check to refuse."""
    if not isinstance(value, str) or kind not in {"number", "integer"}:
        return value
    try:
        return int(value) if kind == "integer" else float(value)
    except ValueError:
        return value


class Form(w.VBox):
    """A form that submits jobs.

    Parameters
    ----------
    pipe : Pipeline
        Which pipeline.
    on_submit : callable, optional
        Called with the :class:`~avi.pipelines.Job`; default: it is shown below the form.
    values : mapping, optional
        Starting values instead of the declared defaults.
    """

    def __init__(
        self,
        pipe: Pipeline,
        on_submit: Callable[[Job], Any] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.pipeline = pipe
        self.fields = {name: field(name, spec) for name, spec in pipe.spec.parameters.items()}
        self._faults = {name: html() for name in self.fields}
        self.notice = html()
        self.button = w.Button(
            description=f"Run: {pipe.spec.title or pipe.name}", button_style="primary"
        )
        self.button.on_click(lambda _: self.submit())
        self.area: JobArea | None = None
        rows: list[Any] = []
        for name, spec in pipe.spec.parameters.items():
            help_text = ". ".join(filter(None, [spec.description.rstrip("."), _range(spec)]))
            rows += [self.fields[name], self._faults[name]]
            if help_text:
                rows.append(
                    html(
                        f'<p class="gavip-muted" style="margin: -7px 0 9px">{escape(help_text)}</p>'
                    )
                )
        children = [*rows, self.button, self.notice]
        if on_submit is None:
            self.area = JobArea(pipe.name)
            children.append(self.area)
            on_submit = self.area.add
        self._on_submit = on_submit
        super().__init__(children)
        self.set(values or {})

    @property
    def values(self) -> dict[str, Any]:
        """What the fields hold; empty text counts as not given."""
        given = {n: f.value for n, f in self.fields.items() if f.value not in ("", None)}
        return {n: _number(v, self.pipeline.spec.parameters[n].type) for n, v in given.items()}

    def set(self, values: Mapping[str, Any]) -> None:
        """Fill fields in; names that the pipeline lacks are ignored."""
        for name, value in values.items():
            if name in self.fields:
                self.fields[name].value = value

    def submit(self) -> threading.Thread:
        """Check and submit, in a thread; returns it."""
        self.button.disabled = True
        thread = threading.Thread(target=self._submit, args=(self.values,), daemon=True)
        thread.start()
        return thread

    def _submit(self, values: dict[str, Any]) -> None:
        for fault in self._faults.values():
            fault.value = ""
        with errors.guard(self.notice):
            try:
                job = self.pipeline.submit(**values)
            except InvalidInput as e:
                for name, why in e.detail.items():
                    if name in self._faults:
                        text = escape(f"{self.fields[name].description}: {why}")
                        self._faults[name].value = f'<p class="gavip-error-text">✕ {text}</p>'
                raise
            else:
                self._on_submit(job)
        self.button.disabled = False


def form(
    name: str,
    *,
    values: Mapping[str, Any] | None = None,
    on_submit: Callable[[Job], Any] | None = None,
) -> Form:
    """Return a form for a pipeline of this AVI; it submits and shows the job.

    Parameters
    ----------
    name : str
        The pipeline's name in ``avi.yaml``.
    values : mapping, optional
        Starting values.
    on_submit : callable, optional
        Called with the job instead of showing it below.
    """
    return Form(pipeline(name), on_submit, values)
