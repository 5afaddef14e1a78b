"""What the portal does, free of HTTP: each module one responsibility."""
