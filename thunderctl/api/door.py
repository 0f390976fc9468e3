"""Where the API is reached: opened where the spec says, again when that changes, and tried again while it can't be.

The controller goes on whatever becomes of it: what keeps the door shut is an alert. It outlives certificates, so who
connects is shown the one that is in the files by then.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from planner.errors import SpecError, ThunderError
from runtime.listening import bound_socket, is_loopback, parse_listen
from runtime.router.access.exposure import ClientTls
from thunderctl.api.listener import Listener
from thunderctl.spec.sections import ControllerSection

LOOK_EVERY_S = 5.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the spec wants it. `stated`: the user wrote so, and no other port will do."""

    listen: str
    tls_cert: str = ""
    tls_key: str = ""
    stated: bool = False

    @classmethod
    def of(cls, section: ControllerSection) -> "Place":
        return cls(section.listen, section.tls_cert, section.tls_key, "listen" in section.model_fields_set)

    @property
    def is_open(self) -> bool:
        """Only users of this host get there."""
        return is_loopback(parse_listen(self.listen)[0])

    def tls(self) -> ssl.SSLContext | None:
        """What to serve with. Raises SpecError where it has to be encrypted and can't be."""
        if bool(self.tls_cert) != bool(self.tls_key):
            raise SpecError("[controller] has one of tls_cert and tls_key; expected both, or neither.")
        if self.tls_cert:
            return self._shown.context()
        if not self.is_open:
            raise SpecError(
                f"The controller's API was to listen on {self.listen}, where its token would cross in the clear; "
                "expected a loopback address, or TLS.",
                hint="Name a certificate: [controller] tls_cert and tls_key. Or go there through an SSH tunnel.",
            )
        return None

    def renew(self, tls: ssl.SSLContext) -> None:
        """Show new connections what is in the files now. Raises SpecError, and what was shown stays."""
        self.tls()  # a certificate without its key would be half loaded
        self._shown.load_into(tls)

    def changed_at(self) -> tuple[int, ...]:
        """When the certificate's files were last written; empty where one can't be looked at."""
        try:
            return tuple(Path(file).stat().st_mtime_ns for file in (self.tls_cert, self.tls_key))
        except OSError:
            return ()

    @property
    def _shown(self) -> ClientTls:
        return ClientTls(Path(self.tls_cert), Path(self.tls_key))


@dataclass(slots=True)
class Door:
    """`wanted` says where it is to be now; `make` makes the application, told whether only this host gets there."""

    wanted: Callable[[], Place]
    make: Callable[[bool], web.Application]
    url: str = ""
    problem: str = ""
    _at: Place | None = None
    _listener: Listener | None = None
    _tls: ssl.SSLContext | None = None
    _certified_at: tuple[int, ...] = ()

    @property
    def alerts(self) -> tuple[str, ...]:
        return (self.problem,) if self.problem else ()

    async def keep(self) -> None:
        """Keep it where it is wanted, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Open, move or shut it, if it isn't as wanted."""
        try:
            place = self.wanted()
        except ThunderError:
            return  # the store can't be read: nobody knows that it is to move
        if place == self._at:
            self._renew(place)
            return
        try:
            await self.shut()
            await self._open(place)
            self._at, self.problem = place, ""
        except ThunderError as error:
            self._say(f"The controller's API is not served: {error.message} {error.hint}".strip())
        except OSError as error:
            self._say(f"The controller's API is not served at {place.listen}: {error.strerror or error}.")

    async def shut(self) -> None:
        listener, self._listener, self._at, self.url, self._tls = self._listener, None, None, "", None
        if listener is not None:
            await listener.close()

    async def _open(self, place: Place) -> None:
        if not place.listen:
            return
        certified_at, tls = place.changed_at(), place.tls()
        host, port = parse_listen(place.listen)
        try:
            bound = bound_socket(host, port)
        except SpecError:
            if place.stated:
                raise
            bound = bound_socket(host, 0)
        port, listener = bound.getsockname()[1], Listener(self.make(place.is_open))
        await listener.open(bound, tls)
        self._listener, self._tls, self._certified_at = listener, tls, certified_at
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        log.info("the API is at %s", self.url)

    def _renew(self, place: Place) -> None:
        changed_at = place.changed_at()
        if self._tls is None or changed_at == self._certified_at:
            self.problem = ""  # as where files were away for a moment
            return
        try:
            place.renew(self._tls)
        except SpecError as error:
            self._say(f"The controller's API goes on with its old certificate: {error.message} {error.hint}")
            return
        self._certified_at, self.problem = changed_at, ""
        log.info("the API shows the certificate that is in its files now")

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem
