"""``python -m gavip_portal``: run the portal."""

from .app import PortalApp

if __name__ == "__main__":
    PortalApp.launch_instance()
