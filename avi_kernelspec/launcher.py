"""The kernel's program: ``python …/launcher.py -f CONNECTION_FILE``, as ``ipykernel_launcher`` but without a debugger.

No page can ask for one, and it would take 8 MiB of every kernel. Run as a file, not as a module: of a module's name a
file in the working folder, which the user can write, would be found first.
"""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """Run a kernel."""
    # this file's own folder, whose modules must not be found by their last names
    del sys.path[0]
    # ipykernel does without what cannot be imported; AVIs may import it all the same, later
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    import_module("ipykernel.debugger")
    from ipykernel import kernelapp

    del sys.modules["debugpy"]
    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
