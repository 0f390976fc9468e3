"""The way to a router on a host of one's own: it is started there, and reached here through an SSH tunnel.

While this process runs the router seems to be on this machine: `router.json` names the tunnel's end. Should it end, or
this machine sleep or be switched off, the router goes on by its routes, and the next link finds it. Only where
`RouterProcess.stop` has left its mark does this process end the router too.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planner.errors import HostError, SpecError
from provisioners.ssh.transport import SshTransport
from runtime.files import write_json, write_private
from runtime.processes import own_process_id
from runtime.tls import AUTHORITY_CERTIFICATE, CERTIFICATE, PRIVATE_KEY
from thunderctl.hosted.only_link import only_link
from thunderctl.hosted.place import COMMAND, ControlHost, host_of
from thunderctl.hosted.preparing import ROUTER, prepare
from thunderctl.hosted.router_end import RouterThere, end_by
from thunderctl.hosted.router_there import FOLDER, KEYS
from thunderctl.processes.router_process import ENDS
from thunderctl.world import World

STATE_FILE = "router.json"
START_S = 120.0
LOOK_EVERY_S = 1.0
AGAIN_S = 2.0
ALIVE_S = 5
ANY = ("0.0.0.0", "::")


@dataclass(slots=True)
class Link:
    """One deployment's. `place` is what it was started for, whatever the spec says by now; `root` the transport to the
    root of that `host`, `folder` its home there; `keys_sent` and `tls_sent` are which client keys and which certificate
    the router there has."""

    world: World
    place: str
    host: ControlHost
    root: SshTransport
    folder: str = ""
    keys_sent: float = 0.0
    tls_sent: float = 0.0

    async def run(self) -> None:
        """Have the router run there and keep the way to it, until told to stop. Raises HostError, SpecError."""
        stop = asyncio.Event()
        (self._router / ENDS).unlink(missing_ok=True)
        prepared = await prepare(self.root, self.host, self.world.name, {}, _say, role=ROUTER)
        self.folder = f"{prepared.folder}/home"
        there = RouterThere(self.host, prepared.folder, self.world.spec().serve.stop_grace_s)
        there.note(self._router)
        await self._send_files()
        state = await self._started(f"{prepared.folder}/{COMMAND}")
        there = replace(there, grace_s=float(state.get("stop_grace_s", 0.0)))
        there.note(self._router)
        for number in (signal.SIGTERM, signal.SIGINT):  # before, they end it at once: nothing is kept yet
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        keeping = [asyncio.ensure_future(one) for one in (self._tunnel(state), self._follow_log(), self._keep_sent())]
        try:
            told = asyncio.ensure_future(stop.wait())
            ended, _ = await asyncio.wait({told, *keeping}, return_when=asyncio.FIRST_COMPLETED)
            for one in ended:
                one.result()  # a bug here is no reason to end a router that serves
            if (self._router / ENDS).exists():
                await self._end(there, keeping[1:])
        finally:
            for one in keeping:
                one.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            self._unsay()

    @property
    def _router(self) -> Path:
        return self.world.router.folder

    async def _send_files(self) -> None:
        self.world.router_tls()
        await self._put(f"{FOLDER}/admin.token", (self._router / "admin.token").read_bytes())
        await self._send_tls()
        if self.world.router.keys.exists():
            await self._send_keys()

    async def _send_tls(self) -> None:
        """What the router shows agents. The certificate last: that it changed is what the router goes by."""
        now = _stamp(self.world.router.tls / CERTIFICATE)
        for name in (AUTHORITY_CERTIFICATE, PRIVATE_KEY, CERTIFICATE):
            await self._put(f"{FOLDER}/tls/{name}", (self.world.router.tls / name).read_bytes())
        self.tls_sent = now

    async def _send_keys(self) -> None:
        now = _stamp(self.world.router.keys)
        await self._put(KEYS, self.world.router.keys.read_bytes())
        self.keys_sent = now

    async def _put(self, name: str, data: bytes) -> None:
        await self.root.put(f"{self.folder}/{name}".lstrip("/"), data, 0o600)

    async def _started(self, command: str) -> dict[str, Any]:
        routes = json.loads((self._router / "routes.json").read_text())
        serve = self.world.spec().serve.model_dump(mode="json", exclude_unset=True)
        asked = json.dumps({"routes": routes, "serve": serve}).encode()
        done = await self.root.run(f"{command} run router-there", timeout_s=START_S, stdin=asked)
        if done.code != 0:
            kind = SpecError if done.code == SpecError.exit_code else HostError
            raise kind(f"On {self.host.name}: {done.complaint.removeprefix('error: ')}")
        state: dict[str, Any] = json.loads(done.stdout)
        return state

    async def _tunnel(self, state: dict[str, Any]) -> None:
        """Keep a tunnel, made anew after each loss; `router.json` is written once it first leads there."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        there = "127.0.0.1" if state["host"] in ANY else state["host"]
        options = ["-o", "ExitOnForwardFailure=yes", "-o", f"ServerAliveInterval={ALIVE_S}"]
        options += ["-L", f"127.0.0.1:{port}:{there}:{state['port']}"]
        while True:
            process = await self._ssh(options, "exec cat >/dev/null")
            try:
                if await _until_it_listens(port, process):
                    self._write(state, port)
                await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
            await asyncio.sleep(AGAIN_S)

    async def _follow_log(self) -> None:
        """Have its log among this process's."""
        while True:
            process = await self._ssh([], f"tail -n 0 -F {self.folder}/{FOLDER}/router.log & cat >/dev/null; kill $!")
            try:
                await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
            await asyncio.sleep(AGAIN_S)

    async def _keep_sent(self) -> None:
        """What is made or revoked here holds there a second later, and what is renewed here is there too."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(HostError, FileNotFoundError):  # tried again
                if _stamp(self.world.router.keys) != self.keys_sent:
                    await self._send_keys()
                if _stamp(self.world.router.tls / CERTIFICATE) != self.tls_sent:
                    await self._send_tls()
                    _say(f"Its renewed certificate was sent to {self.host.name}.")

    async def _end(self, there: RouterThere, others: Sequence[asyncio.Future[None]]) -> None:
        for one in others:
            one.cancel()
        await end_by(self.root, there, self._router, self.world.router.keys)

    async def _ssh(self, options: Sequence[str], line: str) -> asyncio.subprocess.Process:
        """The line reads to the end of its input, which comes when this process is gone, however that went."""
        program, *rest = self.host.shell.arguments(line, terminal=False)
        return await asyncio.create_subprocess_exec(program, *options, *rest, stdin=asyncio.subprocess.PIPE)

    def _write(self, state: dict[str, Any], port: int) -> None:
        certificate = ""
        if state.get("certificate"):
            write_private(self._router / "there.crt", state["certificate"].encode())
            certificate = str(self._router / "there.crt")
        me = own_process_id()
        tunnel = {"host": "127.0.0.1", "port": port, "tls_cert": certificate, "origin": self._origin(state)}
        more = {"stop_grace_s": state.get("stop_grace_s", 0.0), "place": self.place, "at": self.host.identity}
        write_json(self._router / STATE_FILE, {"pid": me.pid, "started_at": me.started_at, **tunnel, **more})

    def _unsay(self) -> None:
        """Remove what names this process, and no other's."""
        path = self._router / STATE_FILE
        with suppress(OSError, ValueError, KeyError):
            if json.loads(path.read_text())["pid"] == os.getpid():
                path.unlink(missing_ok=True)

    def _origin(self, state: dict[str, Any]) -> str:
        """Where clients find it: at the host's own address, unless it listens to that host alone."""
        host = self.host.address.host if state["host"] in ANY else state["host"]
        return (
            f"{'https' if state.get('tls_cert') else 'http'}://{f'[{host}]' if ':' in host else host}:{state['port']}"
        )


async def keep_link(world: World, place: str) -> None:
    """Until told to stop. Raises SpecError for a place that is this machine, HostError where another process does."""
    host = host_of(place, world.spec())
    if host is None:
        raise SpecError("A router on this machine needs no link to it.")
    world.router.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with only_link(world.router.folder, {"place": place, "at": host.identity}):
        connection = host.connection()
        try:
            await Link(world, place, host, host.transport(connection, "/")).run()
        finally:
            connection.close()


async def _until_it_listens(port: int, process: asyncio.subprocess.Process) -> bool:
    """Whether it does; False where the process ended before."""
    while process.returncode is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        await asyncio.sleep(0.05)
    return False


def _stamp(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
