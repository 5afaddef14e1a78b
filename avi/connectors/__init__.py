"""Ways to data: archives now, files and registries later. Heavy libraries load on first use."""

from __future__ import annotations

from .tap import Tap, tap

__all__ = ["Tap", "tap"]
