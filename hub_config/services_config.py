"""Configuration of the platform's services; each reads the classes that it knows.

Only wires, like ``jupyterhub_config.py``; the operator's own file is read last, so that its word counts.
"""

import os

from hub_config.platform import WATCHED_CPU, Platform

c = get_config()  # type: ignore[name-defined]
platform = Platform.of_environment()

layout = platform.layout

c.PortalApp.state_dir = platform.state
c.PortalApp.jobqueue_url = platform.jobqueue_api
c.PortalApp.hub_public_url = f"{platform.public_url}/hub/"
c.PortalApp.user_url_template = platform.user_url
c.PortalApp.example_folders = [f"{platform.examples}/*"] if platform.examples else []
c.PortalApp.instance_cpu = WATCHED_CPU

c.JobQueueApp.bind_url = platform.jobqueue_internal
c.JobQueueApp.state_dir = platform.state
c.JobQueueApp.archive_url = platform.seen_by_code(platform.archive_url)
# one core must still hold an interface, a notebook and a job side by side
c.JobQueueApp.capacity_cpu = float(max(2, os.cpu_count() or 1))

if platform.contained:
    c.JobQueueApp.plane_class = "gavip_spawner.docker_plane.DockerPlane"
    c.JobQueueApp.runner_url = platform.seen_by_code(
        f"{platform.jobqueue_internal}/services/jobqueue"
    )
    c.Containers.state_dir = platform.state
    c.Containers.subnet = platform.subnet
    c.UserDisks.enabled = True
    c.UserDisks.require_shared = platform.in_container
    c.UserDisks.state_dir = platform.state
    c.Containers.gateway_url = platform.gateway_url
    c.GatewayApp.hub_url = platform.hub_api.removesuffix("/hub/api")
    c.GatewayApp.portal_url = platform.portal_internal
    c.GatewayApp.jobqueue_url = platform.jobqueue_internal
    c.GatewayApp.archive_url = platform.archive_url
    c.GatewayApp.access_log = str(layout.run / "egress.log")

if platform.config:
    load_subconfig(platform.config)  # type: ignore[name-defined]
