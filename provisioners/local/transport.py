"""Commands and files on a local machine: a subprocess in its folder."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from planner.errors import HostError
from provisioners.local.files import write_whole
from provisioners.transport import FILE_LIMIT, OUTPUT_LIMIT, Completed, inside

PASSED = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOGNAME", "TMPDIR", "TZ", "USER"})
PASSED_TOO = frozenset({"HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"})
PASSED_PREFIXES = ("CUDA_", "MKL_", "NCCL_", "NVIDIA_", "OMP_", "TORCH_", "VLLM_")
SECRET_ENDINGS = ("_KEY", "_PASSWORD", "_SECRET", "_TOKEN")


def host_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the operator's environment a local machine gets to see: what engines need, and no credential."""
    return {
        name: value
        for name, value in environment.items()
        if (name in PASSED or name in PASSED_TOO or name.startswith(PASSED_PREFIXES))
        and not name.endswith(SECRET_ENDINGS)
    }


class LocalTransport:
    """The transport of one local machine. `environment` is all that its commands see."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)

    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"") -> Completed:
        process = await self._start(command)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        ended = False
        try:
            async with asyncio.timeout(timeout_s):
                streams = (_kept(process.stdout), _kept(process.stderr), _fed(process.stdin, stdin))
                stdout, stderr, _ = await asyncio.gather(*streams)
                code = await process.wait()
            ended = True
        except TimeoutError as error:
            raise HostError(f"On {self._folder.name}, `{command[:80]}` did not end within {timeout_s:g} s.") from error
        finally:
            await _leave(process, ended=ended)
        return Completed(code, stdout, stderr)

    async def put(self, path: str, data: bytes, mode: int) -> None:
        target = self._folder / inside(path)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(target, data, mode)
        except OSError as error:
            raise HostError(f"{target} can't be written: {error.strerror}.") from error

    async def send(self, source: Path, path: str) -> None:
        target = self._folder / inside(path)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await asyncio.to_thread(_copy, source, target)
        except OSError as error:
            raise HostError(f"{target} can't be written: {error.strerror or error}.") from error

    async def get(self, path: str) -> bytes:
        source = self._folder / inside(path)
        try:
            with source.open("rb") as file:
                data = file.read(FILE_LIMIT + 1)
        except OSError as error:
            raise HostError(f"{source} can't be read: {error.strerror}.") from error
        if len(data) > FILE_LIMIT:
            raise HostError(f"{source} is larger than {FILE_LIMIT >> 20} MiB; expected a small file.")
        return data

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        """Where the caller is cancelled, the start is not: asyncio would wait for ever for pipes half connected."""
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", command),
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        )
        try:
            return await asyncio.shield(starting)
        except OSError as error:
            raise HostError(f"No command can be run in {self._folder}: {error.strerror}.") from error
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            if starting.exception() is None:
                await _leave(starting.result(), ended=False)
            raise


def _copy(source: Path, target: Path) -> None:
    """Under its name once it is whole."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    draft = target.with_name(f".{target.name}.part")
    shutil.copy(source, draft)
    draft.rename(target)


async def _kept(stream: asyncio.StreamReader) -> bytes:
    """The first OUTPUT_LIMIT bytes; the rest is read, so that the command does not stall, and dropped."""
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        kept += chunk[: OUTPUT_LIMIT - len(kept)]
    return bytes(kept)


async def _fed(stream: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # it ended without reading all of it
        stream.write(data)
        await stream.drain()
    stream.close()


async def _leave(process: asyncio.subprocess.Process, *, ended: bool) -> None:
    """Kill the process group of a command that has not ended; what made a session of its own lives on.

    Our ends of its pipes are closed, which one that lives on may hold: the wait would be for that one too. The rest of
    the transport only after it: its `close` asks after a process that has not ended, and asyncio's own waiter, which
    then finds none, says so on stderr.
    """
    transport: asyncio.SubprocessTransport = process._transport  # type: ignore[attr-defined]
    if not ended:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for number in range(3):
            if (pipe := transport.get_pipe_transport(number)) is not None:
                pipe.close()
        await process.wait()
    transport.close()
