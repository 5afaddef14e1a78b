"""What every spawner of ours has in common: who gets which server, what it reserves, how it starts and ends.

Owns the mapping from a hub server to a launch spec: technical users (``avi-…``) get the AVI interface
that the portal described in ``user_options``, people get JupyterLab on their user-space. Invariants:
the mode follows from the user's *name*, never from what the request says, for people may write the
options of their own servers and of no technical user's; nothing starts without a reservation, and
what did not start holds none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from jupyterhub.spawner import Spawner
from pydantic import ValidationError
from tornado import web
from traitlets import Float, Integer, TraitError, Unicode, default, validate

from gavip_api.enums import ReservationKind, Role
from gavip_api.errors import GavipError, InvalidInput, Unavailable
from gavip_api.models import InstanceOptions, ReservationRequest, ResourceAmount
from gavip_api.resources import memory_bytes
from gavip_api.slugs import folder_name, is_technical, new_id

from .layout import StateLayout
from .ledger import LedgerClient
from .notebook_options import Bounds, render_form
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
        help="""Base URL of the portal's ``/api/v1`` as reached from an instance or a JupyterLab. No default: must be
        set."""
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
        help="""Memory reserved for and allowed to a user's JupyterLab unless they choose otherwise, as a size.
        Default: 1G.""",
    ).tag(config=True)
    notebook_cpu = Float(
        1.0,
        min=0.01,
        help="""Processor cores reserved for a user's JupyterLab unless they choose otherwise. Default: 1.""",
    ).tag(config=True)
    notebook_max_memory = Unicode(
        "8G",
        help="""Most memory that a user may choose for their JupyterLab, as a size; what is more than `notebook_memory`
        must also be free in their pool. Default: 8G.""",
    ).tag(config=True)
    notebook_max_cpu = Float(
        4.0,
        min=0.01,
        help="""Most processor cores that a user may choose for their JupyterLab. Default: 4.""",
    ).tag(config=True)
    stop_grace = Integer(
        5,
        min=0,
        help="""Seconds a server may take to end by itself before it is killed. Default: 5.""",
    ).tag(config=True)

    process_name = Unicode(
        help="Name on the execution plane of the present start; kept in the hub's state."
    )

    _chosen: ResourceAmount | None = None
    _sent: Mapping[str, list[Any]] = {}

    @validate("notebook_memory", "notebook_max_memory")
    def _check_size(self, proposal: Any) -> str:
        try:
            memory_bytes(proposal["value"])
        except InvalidInput as e:
            raise TraitError(f"{proposal['trait'].name}: {e.message}") from None
        return str(proposal["value"])

    @default("options_form")
    def _default_options_form(self) -> Callable[[GavipServer], Awaitable[str]]:
        return lambda spawner: spawner.ask()

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[..., Awaitable[dict[str, Any]]]:
        return self.answered

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[[GavipServer, Any], None]:
        return lambda spawner, options: spawner.choose(options)

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

    # -- how much a notebook may use --

    @property
    def bounds(self) -> Bounds:
        """What people may choose for their notebooks."""
        return Bounds(
            ResourceAmount(memory=memory_bytes(self.notebook_memory), cpu=self.notebook_cpu),
            ResourceAmount(
                memory=memory_bytes(self.notebook_max_memory), cpu=self.notebook_max_cpu
            ),
        )

    def choose(self, options: Any) -> None:
        """Take what a person chose, by form or by the hub's API (JupyterHub's ``apply_user_options``).

        Raises
        ------
        tornado.web.HTTPError
            With what is wrong; the hub shows its message.
        """
        # what the portal says about an instance is read when it starts
        if self.technical:
            return
        try:
            self._chosen = self.bounds.check(options)
        except InvalidInput as e:
            raise _shown(e) from None

    async def ask(self) -> str:
        """Return the form's fields, or nothing for an instance (JupyterHub's ``options_form``)."""
        if self.technical:
            return ""
        pool = None
        if self._ledger is not None:
            try:
                pool = await self._ledger.pool(self.user.name, self._roles())
            except GavipError as e:
                self.log.warning("The form does not say what is free: %s", e.message)
        bounds = self.bounds
        try:
            last = bounds.check(self.orm_spawner.user_options or {})
        except InvalidInput:
            # chosen under other bounds, or never by the form
            last = bounds.default
        # as it was sent once, with the reason; whoever comes back later begins anew
        sent, self._sent = self._sent, {}
        return render_form(bounds, pool, last, sent)

    async def answered(self, form: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Return the options of a sent form and reserve them (JupyterHub's ``options_from_form``).

        The hub shows an error that is raised here with the form; the start itself comes later, on another
        page. It reserves the same again, which changes nothing.

        Raises
        ------
        tornado.web.HTTPError
            With what is wrong, or the ledger's reason.
        """
        self._sent = form
        try:
            options = self.bounds.of_form(form)
            self._chosen = self.bounds.check(options)
            if self._ledger is not None:
                await self._ledger.reserve(self._reservation(None))
        except GavipError as e:
            raise _shown(e) from None
        self._sent = {}
        return options

    def options_from_query(self, query: Any) -> dict[str, Any]:
        """Refuse: a link that somebody else made must not start anything (the form carries an XSRF token)."""
        raise _shown(InvalidInput("JupyterLab is not started by a link.", hint="Press Start."))

    def _host_label(self, owner: str) -> str:
        """Return the label of the host on which a person's JupyterLab is, as the hub makes it."""
        hook, domain = self.user.settings["subdomain_hook"], self.user.settings["domain"]
        host: str = hook(owner, domain, "user")
        return host.removesuffix(f".{domain}")

    def _notebook_amount(self) -> ResourceAmount:
        return self._chosen or self.bounds.default

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
                server=self.reservation_id,
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
            api_url=self.portal_api_url,
            server=self.reservation_id,
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


def _shown(error: GavipError) -> web.HTTPError:
    """Return what the hub shows to people with this error's message, hint and status."""
    made = web.HTTPError(error.status, error.message)
    made.jupyterhub_message = f"{error.message} {error.hint or ''}".strip()  # type: ignore[attr-defined]
    return made
