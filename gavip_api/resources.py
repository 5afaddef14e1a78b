"""Resources as people write them: sizes, durations, and expressions over a pipeline's parameters.

Invariant: an expression sees numbers only, has a bounded length, no attributes, no calls but a few pure
functions, and always ends quickly (``simpleeval`` limits powers and lengths).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

from .errors import InvalidInput

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?\b")
_DURATION = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?\Z")
_FUNCTIONS = {"min": min, "max": max, "ceil": math.ceil, "floor": math.floor, "sqrt": math.sqrt}
_MAX_EXPRESSION = 200


def _evaluate(expression: str, parameters: Mapping[str, Any], what: str) -> float:
    if len(expression) > _MAX_EXPRESSION:
        raise InvalidInput(
            f"The expression for {what} is longer than {_MAX_EXPRESSION} characters."
        )
    if set(expression) & set(";\n\r"):
        raise InvalidInput(f"The {what} {expression!r} must be one expression.")
    numbers = {
        k: v
        for k, v in parameters.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
    }
    plain = _SIZE.sub(lambda m: repr(float(m[1]) * _UNITS[m[2]]), expression)
    try:
        value = SimpleEval(functions=_FUNCTIONS, names=numbers).eval(plain)
    except (
        InvalidExpression,
        SyntaxError,
        ArithmeticError,
        TypeError,
        ValueError,
        RecursionError,
    ) as e:
        raise InvalidInput(
            f"The {what} {expression!r} cannot be computed: {e}",
            hint="Use numbers, sizes such as 512M, parameter names and + - * / min max ceil floor sqrt.",
        ) from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"The {what} {expression!r} does not give a number.")
    return float(value)


def memory_bytes(text: str | float, parameters: Mapping[str, Any] | None = None) -> int:
    """Return a memory amount in bytes.

    Parameters
    ----------
    text : str or int
        Bytes, a size (``"512M"``, powers of 1024) or an expression over `parameters` (``"512M + 2K * rows"``).
    parameters : mapping, optional
        Values of the pipeline's parameters; only finite numbers can be used.

    Raises
    ------
    InvalidInput
        If it cannot be computed or is not positive.
    """
    value = (
        float(text)
        if isinstance(text, (int, float))
        else _evaluate(text, parameters or {}, "memory")
    )
    if value < 1:
        raise InvalidInput(f"Memory must be positive, not {text!r}.")
    return math.ceil(value)


def cpu_cores(text: str | float, parameters: Mapping[str, Any] | None = None) -> float:
    """Return a number of processor cores; like :func:`memory_bytes`, in cores."""
    value = (
        float(text) if isinstance(text, (int, float)) else _evaluate(text, parameters or {}, "cpu")
    )
    if not 0 < value <= 1024:
        raise InvalidInput(f"The number of cores must be above 0 and at most 1024, not {text!r}.")
    return value


def seconds(text: str | int) -> int:
    """Return a duration in seconds, from seconds or text such as ``"1h 30m"``.

    Raises
    ------
    InvalidInput
        If it is not a positive duration.
    """
    if isinstance(text, int):
        value = text
    else:
        match = _DURATION.match(text.strip())
        if not match:
            raise InvalidInput(
                f"{text[:40]!r} is not a duration.",
                hint="Write for example 90s, 15m, 1h or 1h 30m.",
            )
        d, h, m, s = (int(g or 0) for g in match.groups())
        value = ((d * 24 + h) * 60 + m) * 60 + s
    if value <= 0:
        raise InvalidInput("A duration must be positive.")
    return value


def human_size(size: float) -> str:
    """Return bytes as people read them, in binary units (IEC 80000-13)."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
