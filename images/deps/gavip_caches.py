"""Hand out what the image prepared: matplotlib's list of fonts, which it looks for only where it may write.

Run by every Python of the image before anything else, so it imports nothing and never fails.
"""

import os

SOURCE = "/usr/share/gavip/matplotlib"


def _cache() -> str:
    # as matplotlib.get_cachedir
    chosen = os.environ.get("MPLCONFIGDIR")
    if chosen:
        return chosen
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(caches, "matplotlib")


def hand_out() -> None:
    """Copy the list of fonts to where matplotlib looks for it, unless one is there."""
    try:
        target = _cache()
        for name in os.listdir(SOURCE):
            path = os.path.join(target, name)
            if name.startswith("fontlist-") and not os.path.lexists(path):
                os.makedirs(target, exist_ok=True)
                with open(os.path.join(SOURCE, name), "rb") as file:
                    content = file.read()
                # whole or not at all: several processes start at once
                draft = f"{path}.{os.getpid()}"
                with open(draft, "xb") as file:
                    file.write(content)
                os.replace(draft, path)
    except OSError:
        # matplotlib makes its own list then
        return


hand_out()
