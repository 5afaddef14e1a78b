"""``python -m gavip_spawner.gateway``: run the gateway."""

from .app import GatewayApp

if __name__ == "__main__":
    GatewayApp.launch_instance()
