"""`World`: one deployment's parts, opened together: its store, folders, router and provisioners."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from planner.errors import SpecError
from provisioners.base import Provisioner
from runtime.messages import CONTROLLER_NAME, ROUTER_NAME, agent_name
from runtime.tls import CERTIFICATE
from thunderctl.compose import provisioner
from thunderctl.controller.process import ControllerProcess
from thunderctl.home import KEYS_FILE, checked_deployment, deployment_folder
from thunderctl.processes.router_process import RouterProcess
from thunderctl.spec.spec import Spec
from thunderctl.spec.stored_spec import read_stored
from thunderctl.store.store import Store


@dataclass(slots=True)
class World:
    """What acts on one deployment. Certificates are made as they are first needed.

    `written` is the spec that a command works by, where it is not the one that the deployment was brought up with.
    """

    name: str
    store: Store
    folder: Path
    written: Spec | None = None
    _provisioners: dict[str, Provisioner] = field(default_factory=dict)

    @property
    def router(self) -> RouterProcess:
        return RouterProcess(self.folder / "router", self.folder / KEYS_FILE, self._host_at)

    @property
    def controller(self) -> ControllerProcess:
        return ControllerProcess(self.folder / "controller", self.name)

    @property
    def operator_tls(self) -> Path:
        """Credentials of the commands towards agents."""
        return self._issued(CONTROLLER_NAME, self.folder / "operator")

    async def look_after(self) -> None:
        """Have a controller run: from before the first lease on, so that none is ever without one."""
        _ = self.operator_tls  # the authority is made here, by one process alone
        await self.controller.start()

    def router_tls(self) -> Path:
        return self._issued(ROUTER_NAME, self.router.tls)

    def agent_tls(self, lease_id: str) -> Path:
        """Credentials that an instance is given; kept here so that preparing it again changes nothing."""
        return self._issued(agent_name(lease_id), self.folder / "agents" / lease_id)

    def provisioner(self, provider: str) -> Provisioner:
        if provider not in self._provisioners:
            self._provisioners[provider] = provisioner(provider, self.written or self.spec())
        return self._provisioners[provider]

    def forget_providers(self) -> None:
        """Have provisioners made anew as they are next needed: the spec they were made by has changed."""
        self._provisioners.clear()

    def forget(self) -> None:
        """Remove what a deployment that is down has no use for: its certificates, its router's files.

        Client keys stay: what clients were given is good again when it comes up again.
        """
        kept = self.router.keys.parent
        for path in [path for path in self.folder.iterdir() if path != kept]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not kept.exists():
            self.folder.rmdir()

    def spec(self) -> Spec:
        """The spec that the deployment was last brought up with, as far as this version can read it."""
        return read_stored(self.store.deployment(self.name).spec)[0]

    def _host_at(self, place: str) -> str:
        """What tells the host of a place from others, by the spec that a link to it goes by."""
        from thunderctl.hosted.place import host_of

        host = host_of(place, self.spec())
        return host.identity if host else ""

    def _issued(self, name: str, folder: Path) -> Path:
        """Credentials of this name. Where the authority was lost what it has issued goes on: nobody trusts another."""
        from thunderctl.keys.certificates import ensure_authority, has_authority, issue

        authority, operator = self.folder / "ca", self.folder / "operator"
        if not has_authority(authority) and (operator / CERTIFICATE).exists():
            if (folder / CERTIFICATE).exists():
                return folder
            raise SpecError(
                f"The certificate authority in {authority} is gone, and what runs trusts no other.",
                hint="Restore that folder from a backup; or thunderctl down, then thunderctl up, which makes another.",
            )
        ensure_authority(authority)
        issue(authority, name, folder)
        return folder


@contextmanager
def open_world(name: str) -> Iterator[World]:
    """Open the store and the folder of a deployment."""
    with Store() as store:
        yield World(checked_deployment(name), store, deployment_folder(name))
