"""A deployment moved to a host of one's own, and brought home again. Cut off anywhere, it is gone on with.

At any moment one store alone may lease: it is handed over in the transaction that its rows are read in, and what was
read is on this machine's disk until the other side has it.
"""

import asyncio
import shutil
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from planner.errors import HostError, Refused
from provisioners.crash import crash_point
from provisioners.ssh.transport import SshTransport
from thunderctl.deploying.replacers import replacers
from thunderctl.home import KEYS_FILE, deployment_folder, thunder_home
from thunderctl.hosted.bundle import bundle_path, pack, packed_move, unpack
from thunderctl.hosted.note import FILE, Away, Moving, forget_away, read_away, write_away
from thunderctl.hosted.place import COMMAND, ControlHost
from thunderctl.hosted.preparing import Narrate, Prepared, prepare, send_files, unit_name
from thunderctl.store.moving import refuse_unmovable, take_back
from thunderctl.store.store import Store
from thunderctl.store.values import DeploymentState
from thunderctl.world import World

TAKE_IN_S = 120.0
COME = "move.json"

T = TypeVar("T")


async def on_host(host: ControlHost, work: Callable[[SshTransport], Coroutine[Any, Any, T]]) -> T:
    """What `work` comes to with a connection to the host, from its root; closed in the end. Raises HostError."""
    connection = host.connection()
    try:
        return await work(host.transport(connection, "/"))
    finally:
        connection.close()


async def settle_in(host: ControlHost, deployment: str, variables: Mapping[str, str], narrate: Narrate) -> Prepared:
    """Have the host ready for the deployment."""
    return await on_host(host, lambda transport: prepare(transport, host, deployment, variables, narrate))


async def send(host: ControlHost, wanted: Mapping[str, Path]) -> None:
    """Copy files of this machine there."""
    if wanted:
        await on_host(host, lambda transport: send_files(transport, wanted))


async def move(world: World, host: ControlHost, folder: str, narrate: Narrate) -> Away:
    """Have the deployment live on a host that is ready, or go on with that. Raises Refused, or HostError.

    What was not handed over when an earlier try was cut off begins anew; what was is sent until it is taken in.
    """
    away = read_away(world.name)
    if away is not None and away.moving is Moving.THERE:
        return away  # another `up` has just done it
    if away is None or not handed_over(world.store, away):
        away = await _hand_over(world, host, folder, narrate)
    narrate(f"Moving {world.name} to {host.name}.")
    await on_host(away.host, lambda transport: _deliver(transport, bundle_path(world.name), away.folder))
    crash_point("M4")
    there = replace(away, moving=Moving.THERE)
    write_away(world.name, there)
    bundle_path(world.name).unlink(missing_ok=True)
    return there


def handed_over(store: Store, away: Away) -> bool:
    """Whether nothing may be leased from here any more: its bundle is then whole.

    Of a store that hosts share no row moves, and whoever has its lock may write: there the bundle itself is what tells.
    """
    if store.address.is_postgres:
        return packed_move(away.deployment) == away.move
    return store.deployment(away.deployment).state is DeploymentState.MOVED


async def _hand_over(world: World, host: ControlHost, folder: str, narrate: Narrate) -> Away:
    """End what runs here for it, write the note, pack, and hand over."""
    refuse_unmovable(world.store, world.name)
    with world.store.lock(world.name, f"move to {host.name}") as held:
        before = world.store.deployment(world.name).state
        if await held.during(world.controller.stop_replacing(replacers(world.store, world.name))):
            narrate("The controller was replacing machines; the one there goes on with it.")
        if world.router.may_run:
            narrate("The router of this machine ends; the one there takes its place.")
            await held.during(world.router.stop())
        await held.during(world.controller.stop())
        away = Away(host, world.name, folder, str(uuid.uuid4()), state_before=str(before))
        write_away(world.name, away)
        pack(world.store, world.name, away.move)
    return away


async def _deliver(transport: SshTransport, bundle: Path, folder: str) -> None:
    await transport.put(f"{folder}/{COME}".lstrip("/"), bundle.read_bytes(), 0o600)
    command = f"{folder}/{COMMAND} run take-in {folder}/{COME} && rm -f {folder}/{COME}"
    done = await transport.run(command, timeout_s=TAKE_IN_S)
    if done.code != 0:
        raise HostError(f"The host did not take the deployment in: {done.complaint}", hint="Run `thunderctl up` again.")


def was_given_back(away: Away) -> bool:
    """Whether the other side has already handed it over, in an earlier try to bring it home. Raises HostError."""

    async def ask(transport: SshTransport) -> bool:
        done = await transport.run(f"{away.folder}/{COMMAND} run hand-over --again", timeout_s=TAKE_IN_S)
        return done.code == 0

    return asyncio.run(on_host(away.host, ask))


async def bring_home(world: World, away: Away, narrate: Narrate) -> None:
    """Have a deployment that is down there live here again, with its history and its client keys."""
    narrate(f"Bringing {world.name} home from {away.host.name}.")
    fetched = bundle_path(world.name)

    async def fetch(transport: SshTransport) -> None:
        path = f"{away.folder}/home/moves/{world.name}.json"
        done = await transport.run(f"{away.folder}/{COMMAND} run hand-over", timeout_s=TAKE_IN_S)
        if done.code != 0:
            raise Refused(f"{away.host.name} does not give {world.name} back: {done.complaint}")
        fetched.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fetched.write_bytes(await transport.get(path.lstrip("/")))

    await on_host(away.host, fetch)
    _clear(world.name)
    unpack(world.store, fetched, home=thunder_home())
    crash_point("M5")
    forget_away(world.name)
    fetched.unlink()
    await on_host(away.host, lambda transport: _tidy(transport, world.name, away.folder))


def take_back_unasked(world: World, away: Away) -> None:
    """Have it live here again as it was when it left: on somebody's word that nothing looks after it there any more."""
    before = DeploymentState(away.state_before)
    take_back(world.store, world.name, before)
    world.store.record(world.name, "moved.back", f"taken back from {away.host.name} unasked: it is said to be gone")
    forget_away(world.name)


def _clear(name: str) -> None:
    """Remove what lay here since it left, but for the note: what comes is newer."""
    folder = deployment_folder(name)
    for path in [path for path in folder.iterdir() if path.name not in (FILE, KEYS_FILE.parts[0])]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


async def _tidy(transport: SshTransport, name: str, folder: str) -> None:
    """Remove what it left there, credentials first; the environment stays for others."""
    unit = unit_name(name)
    disabled = f"systemctl --user disable --quiet --now {unit} 2>/dev/null; rm -f ~/.config/systemd/user/{unit}"
    await transport.run(f"rm -f {folder}/environment; {disabled}; rm -rf {folder}", timeout_s=TAKE_IN_S)


def hand_home(world: World, *, again: bool) -> Path:
    """On the host that it lives on: pack what goes home, of a deployment that is down. Raises Refused.

    `again`: only if that was done before.
    """
    path = bundle_path(world.name)
    deployment = world.store.deployment(world.name)
    if deployment.state is DeploymentState.MOVED and path.exists():
        return path
    rows = world.store.leases(world.name)
    if again or deployment.state is not DeploymentState.ABSENT or any(row.state.may_cost for row in rows):
        raise Refused(f"{world.name} is not down.", hint="Release its machines first: thunderctl down --home")
    with world.store.lock(world.name, "move home"):
        asyncio.run(world.controller.stop())
        return pack(world.store, world.name, str(uuid.uuid4()))[0]
