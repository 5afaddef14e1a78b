"""What every spawner of ours has in common: who gets which server, what it reserves, how it starts and ends.

Owns the mapping from a hub server to a launch spec: technical users (``avi-…``) get the AVI interface
that the portal described in ``user_options``, people get JupyterLab on their user-space. Invariants:
the mode follows from the user's *name*, never from what the request says, for people may write the
options of their own servers and of no technical user's; nothing starts without a reservation, and
what did not start holds none.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jupyterhub.spawner import Spawner
from pydantic import ValidationError
from traitlets import Float, Integer, Unicode

from gavip_api.enums import ReservationKind, Role
from gavip_api.errors import GavipError, InvalidInput, Unavailable
from gavip_api.models import InstanceOptions, ReservationRequest, ResourceAmount
from gavip_api.resources import memory_bytes
from gavip_api.slugs import folder_name, is_technical, new_id

from .layout import StateLayout
from .ledger import LedgerClient
from .placement import OnHost, Placement
from .specs import LaunchSpec, interface_spec, notebook_spec


class GavipServer(Spawner):
    """Base of the spawners; a back-end adds how a launch spec runs."""

    state_dir = Unicode(
        help="""Absolute path of the platform's state folder (user-spaces, releases, plane). No default: must be set."""
    ).tag(config=True)
    archive_url = Unicode(
        help="""Base URL of the TAP service that AVIs are told to use. Default: empty, no archive."""
    ).tag(config=True)
    portal_api_url = Unicode(
        help="""Base URL of the portal's ``/api/v1`` as reached from an instance. No default: must be set."""
    ).tag(config=True)
    frame_ancestors = Unicode(
        "'self'",
        help="""Origins that may frame an AVI (CSP ``frame-ancestors``); ``{owner}`` becomes the owner's host label.
        Default: only itself.""",
    ).tag(config=True)
    ledger_url = Unicode(
        help="""Base URL of jobqueue's internal API, ending in ``/api/v1``. Default: empty, which starts servers without
        reservation and is for tests of the spawner alone."""
    ).tag(config=True)
    ledger_token = Unicode(
        help="""Hub token with scope ``custom:jobqueue:reserve``. Default: empty."""
    ).tag(config=True)
    notebook_memory = Unicode(
        "1G",
        help="""Memory reserved for and allowed to a user's JupyterLab, as a size. Default: 1G.""",
    ).tag(config=True)
    notebook_cpu = Float(
        1.0, min=0.01, help="""Processor cores reserved for a user's JupyterLab. Default: 1."""
    ).tag(config=True)
    stop_grace = Integer(
        5,
        min=0,
        help="""Seconds a server may take to end by itself before it is killed. Default: 5.""",
    ).tag(config=True)

    process_name = Unicode(
        help="Name on the execution plane of the present start; kept in the hub's state."
    )

    @property
    def layout(self) -> StateLayout:
        """Where things are."""
        return StateLayout(Path(self.state_dir))

    @property
    def placement(self) -> Placement:
        """Where a server finds its folders and programs."""
        return OnHost()

    @property
    def technical(self) -> bool:
        """Whether this server is an AVI instance."""
        return is_technical(self.user.name)

    @property
    def reservation_id(self) -> str:
        """Id of this server's line in the ledger."""
        return f"{self.user.name}/{self.name}"

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub."""
        state = super().get_state()
        if self.process_name:
            state["process_name"] = self.process_name
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` returned."""
        super().load_state(state)
        self.process_name = state.get("process_name", "")

    def clear_state(self) -> None:
        """Forget the last start."""
        super().clear_state()
        self.process_name = ""

    def _instance_options(self) -> InstanceOptions:
        try:
            return InstanceOptions.model_validate(self.user_options.get("instance"))
        except ValidationError:
            raise InvalidInput(
                "This instance was not requested through the portal.",
                hint="Open the AVI from the catalogue.",
            ) from None

    def _host_label(self, owner: str) -> str:
        """Return the label of the host on which a person's JupyterLab is, as the hub makes it."""
        hook, domain = self.user.settings["subdomain_hook"], self.user.settings["domain"]
        host: str = hook(owner, domain, "user")
        return host.removesuffix(f".{domain}")

    def _notebook_amount(self) -> ResourceAmount:
        return ResourceAmount(memory=memory_bytes(self.notebook_memory), cpu=self.notebook_cpu)

    def _roles(self) -> tuple[Role, ...]:
        """Return the user's roles: each is a hub group of its name."""
        groups = {group.name for group in self.user.groups}
        return tuple(role for role in Role if role.value in groups)

    def _reservation(self, options: InstanceOptions | None) -> ReservationRequest:
        if options is not None:
            return ReservationRequest(
                id=self.reservation_id,
                owner=options.owner.name,
                kind=ReservationKind.INTERFACE,
                amount=options.resources,
                roles=options.owner.roles,
                title=f"{options.avi} ({options.view})",
            )
        return ReservationRequest(
            id=self.reservation_id,
            owner=self.user.name,
            kind=ReservationKind.NOTEBOOK,
            amount=self._notebook_amount(),
            roles=self._roles(),
            title="JupyterLab",
        )

    def _spec(self, options: InstanceOptions | None) -> LaunchSpec:
        environment = self.get_env()
        if options is not None:
            return interface_spec(
                self.layout,
                name=self.process_name,
                options=options,
                hub_environment=environment,
                archive_url=self.archive_url,
                api_url=self.portal_api_url,
                frame_ancestors=self.frame_ancestors.format(
                    owner=self._host_label(options.owner.name)
                ),
                placement=self.placement,
            )
        return notebook_spec(
            self.layout,
            name=self.process_name,
            user=self.user.name,
            amount=self._notebook_amount(),
            argv=tuple(self.cmd + self.get_args()),
            hub_environment=environment,
            archive_url=self.archive_url,
            placement=self.placement,
        )

    async def start(self) -> str:
        """Reserve, then start; return the server's URL.

        Raises
        ------
        GavipError
            With the ledger's reason or the plane's fault; the hub shows its message.
        """
        try:
            return await self._start()
        except GavipError as e:
            # the hub shows this attribute on its progress page and hands it to the portal's progress stream
            e.jupyterhub_message = f"{e.message} {e.hint or ''}".strip()  # type: ignore[attr-defined]
            raise

    async def _start(self) -> str:
        options = self._instance_options() if self.technical else None
        reserved = self._reservation(options)
        if self._ledger is not None:
            await self._ledger.reserve(reserved)
        self.process_name = f"{folder_name(self.user.name)}.{new_id()}"
        try:
            ip, port = await self._run(options)
            await self._until_listening(ip, port)
        except BaseException:
            await self._release()
            raise
        return f"http://{ip}:{port}"

    async def _run(self, options: InstanceOptions | None) -> tuple[str, int]:
        """Start what :meth:`_spec` describes; return where it will listen."""
        raise NotImplementedError

    async def _exit_code(self) -> int | None:
        """Return None while what was started runs (or might), else its exit code."""
        raise NotImplementedError

    async def _end(self, now: bool) -> None:
        """End what was started and forget it; safe to repeat."""
        raise NotImplementedError

    async def last_log_lines(self, lines: int = 20) -> str:
        """Return the end of the server's output, for operators."""
        raise NotImplementedError

    async def _until_listening(self, ip: str, port: int) -> None:
        """Return when the port answers; the hub bounds the time by ``start_timeout``.

        Raises
        ------
        Unavailable
            As soon as the process has ended: the hub alone would only find out when its own wait is over.
        """
        while True:
            try:
                _, writer = await asyncio.open_connection(ip, port)
            except OSError:
                if await self._exit_code() is not None:
                    self.log.warning("Last output:\n%s", await self.last_log_lines())
                    raise Unavailable(
                        "The server ended while it was starting.",
                        hint="Try again; an operator finds the reason in the hub's log.",
                    ) from None
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return

    async def poll(self) -> int | None:
        """Return None while the server runs, else its exit code."""
        if not self.process_name:
            return 0
        code = await self._exit_code()
        if code is None:
            return None
        await self._release()
        if code:
            self.log.warning(
                "%s ended with %s; its last output:\n%s",
                self.process_name,
                code,
                await self.last_log_lines(),
            )
        return code

    async def stop(self, now: bool = False) -> None:
        """Stop the server, forget it and release what it held; safe to repeat."""
        if self.process_name:
            await self._end(now)
        await self._release()

    @property
    def _ledger(self) -> LedgerClient | None:
        return LedgerClient(self.ledger_url, self.ledger_token) if self.ledger_url else None

    async def _release(self) -> None:
        if self._ledger is None:
            return
        try:
            await self._ledger.release(self.reservation_id)
        except GavipError as e:
            # jobqueue reconciles against the hub's running servers, so the line does not stay
            self.log.warning("Reservation %s not released now: %s", self.reservation_id, e.message)
