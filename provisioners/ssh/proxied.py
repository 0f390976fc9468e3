"""SSH through a provider's proxy, which has to be told of our key before it lets us in."""

from collections.abc import Awaitable, Callable
from threading import Event
from typing import TypeVar

from planner.errors import HostError, ProvisioningError
from provisioners.ssh.connection import SshConnection
from provisioners.ssh.login import SshLogin

T = TypeVar("T")
Admit = Callable[[], Awaitable[None]]


class ProxiedConnection(SshConnection):
    """Asks to be let in before anything else is done; asking again does no harm."""

    def __init__(self, login: SshLogin, admit: Admit) -> None:
        super().__init__(login)
        self._admit = admit
        self._admitted = False

    async def do(self, work: Callable[[Event], T]) -> T:
        if not self._admitted:
            try:
                await self._admit()
            except ProvisioningError as error:
                raise HostError(
                    f"The proxy {self.address} can't be told of our key: {error}", hint=error.hint
                ) from error
            self._admitted = True
        return await super().do(work)


def connection(login: SshLogin, admit: Admit | None) -> SshConnection:
    """A connection that is not made yet; with `admit`, one through a proxy."""
    return ProxiedConnection(login, admit) if admit else SshConnection(login)
