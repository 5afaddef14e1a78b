"""Hub configuration of both back-ends; read by ``jupyterhub --config``, started by ``gavip up``.

Only wires: every value comes from :class:`hub_config.platform.Platform` or from a module of this package.
"""

from pathlib import Path

from gavip_api.isolation import LAB_HEADERS
from hub_config import roles
from hub_config.authenticators import DemoAuthenticator
from hub_config.platform import HOST_COOKIE_OPTIONS, WATCHED_CPU, Platform
from hub_config.subdomains import subdomain_hook

c = get_config()  # type: ignore[name-defined]
platform = Platform.of_environment()
layout = platform.layout
here = Path(__file__).resolve().parent


c.JupyterHub.bind_url = f"{platform.scheme}://{platform.listen}:{platform.port}"
c.JupyterHub.subdomain_host = platform.public_url
c.JupyterHub.subdomain_hook = subdomain_hook
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{platform.hub_port}"
c.JupyterHub.cookie_secret = bytes.fromhex(platform.cookie_secret)
c.JupyterHub.db_url = f"sqlite:///{layout.run / 'hub.sqlite'}"
c.JupyterHub.default_url = platform.portal_url
c.JupyterHub.template_paths = [str(here / "templates")]
c.JupyterHub.template_vars = {"portal_url": platform.portal_url}
c.JupyterHub.shutdown_on_logout = True
# containers outlive the hub, which finds them again; `gavip up` stops them when all is over
c.JupyterHub.cleanup_servers = not platform.contained
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.allow_named_servers = False
# failed spawns are shown by the portal; the hub itself must go on serving
c.JupyterHub.concurrent_spawn_limit = 20
c.Spawner.consecutive_failure_limit = 0

# a program of its own, so that a restart of the hub cuts nobody off; the hub tells it its routes again whenever it
# has asked it who was active, so one that was restarted knows them soon
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.last_activity_interval = 10
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{platform.proxy_api_port}"
c.ConfigurableHTTPProxy.auth_token = platform.proxy_token

c.JupyterHub.authenticator_class = DemoAuthenticator
c.DemoAuthenticator.accounts_file = str(platform.accounts_file)
c.DemoAuthenticator.allow_all = True
c.DemoAuthenticator.manage_groups = True
# of every authenticator: the hub puts our rules around whichever class is set
c.GavipNames.portal_api_url = platform.portal_api
c.GavipNames.portal_token = platform.spawner_token

c.JupyterHub.load_roles = roles.load_roles()
c.JupyterHub.custom_scopes = roles.CUSTOM_SCOPES
c.JupyterHub.cookie_host_prefix_enabled = True
c.JupyterHub.tornado_settings = {
    "cookie_options": HOST_COOKIE_OPTIONS,
    "oauth_no_confirm_list": roles.InstanceClients({"service-portal"}),
    # a start is answered at once and followed by its progress, so that people see its steps
    "slow_spawn_timeout": 0,
}

c.JupyterHub.spawner_class = f"gavip-{platform.backend}"
c.Spawner.server_token_scopes = roles.server_token_scopes
c.Spawner.default_url = "/lab"
# nothing that we start looks for news, updates or extensions elsewhere
c.Spawner.args = [
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    f"--ServerApp.tornado_settings={ {'headers': LAB_HEADERS} }",
]
c.Spawner.start_timeout = 60
c.Spawner.http_timeout = 60
c.GavipServer.state_dir = platform.state
c.GavipServer.archive_url = platform.seen_by_code(platform.archive_url)
c.GavipServer.portal_api_url = platform.seen_by_code(platform.portal_api)
c.GavipServer.frame_ancestors = f"{platform.portal_origin} {platform.origin('{owner}')}"
# in a container it is a limit that the kernel keeps, not only a place in the ledger
c.GavipServer.notebook_cpu = 2 * WATCHED_CPU if platform.contained else WATCHED_CPU
c.GavipServer.ledger_url = platform.jobqueue_api
c.GavipServer.ledger_token = platform.spawner_token

if platform.contained:
    c.Containers.subnet = platform.subnet
    c.UserDisks.enabled = True
    c.UserDisks.require_shared = platform.in_container
    c.UserDisks.state_dir = platform.state
    c.Containers.gateway_url = platform.gateway_url
    c.Spawner.hub_connect_url = platform.gateway_url
    c.GavipHub.internal_hosts = [platform.gateway_url.removeprefix("http://")]

# programs of `gavip up`, not children of the hub: each may end and start again without the others
c.JupyterHub.services = [
    {
        "name": "portal",
        "url": platform.portal_internal,
        "api_token": platform.portal_token,
        "oauth_redirect_uri": f"{platform.portal_url}oauth_callback",
        "oauth_no_confirm": True,
        "display": False,
    },
    {"name": "jobqueue", "display": False, "api_token": platform.jobqueue_token},
    {"name": "spawner", "display": False, "api_token": platform.spawner_token},
    {"name": "idle-culler", "display": False, "api_token": platform.culler_token},
]

# last, so that the operator's word counts
if platform.config:
    load_subconfig(platform.config)  # type: ignore[name-defined]
