"""Git on hostile content: bare repositories only, every call an argv list in a hardened environment."""
