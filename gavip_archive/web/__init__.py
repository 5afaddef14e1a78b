"""The HTTP face of the archive: TAP 1.1, UWS 1.1, DALI 1.1 and VOSI 1.1 on tornado."""
