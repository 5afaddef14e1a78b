"""Progress told from inside a pipeline notebook.

The notebook publishes a display message of its own media type and the runner, which alone holds the job's token,
turns it into a report: code of an AVI never needs that token.
"""

from __future__ import annotations

import math
import sys

MIME = "application/vnd.gavip.progress+json"
ERROR_MIME = "application/vnd.gavip.error+json"

_DISPLAY_ID = "gavip-progress"


def progress(done: float, total: float, message: str = "") -> None:
    """Tell how far the present cell is.

    Parameters
    ----------
    done, total : float
        Steps done of how many, in any unit; ``0 <= done <= total``.
    message : str
        What is being done, in a few words.

    Raises
    ------
    ValueError
        If the numbers are not finite, negative, or `total` is zero.
    """
    if not (math.isfinite(done) and math.isfinite(total) and done >= 0 and total > 0):
        raise ValueError(f"progress({done}, {total}): finite numbers, done >= 0 and total > 0")
    fraction = min(1.0, done / total)
    text = f"{fraction:4.0%} {message}".rstrip()
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython  # a kernel has it loaded already
        from IPython.display import display

        if get_ipython() is not None:
            bundle = {
                MIME: {"fraction": fraction, "message": str(message)[:500]},
                "text/plain": text,
            }
            display(bundle, raw=True, display_id=_DISPLAY_ID)  # type: ignore[no-untyped-call]
            return
    print(text, flush=True)
