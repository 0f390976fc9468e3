"""Prepare an instance, the same way everywhere: facts → the commands still needed → run → verify."""

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator
from math import inf

from planner.errors import HostError, HostSilent, HostUnfit
from provisioners.crash import crash_point
from provisioners.hosts.agent import LOG, start_commands, stop_commands
from provisioners.hosts.checks import check_host
from provisioners.hosts.commands import Command, Put, Run, Send, carry_out
from provisioners.hosts.digests import contents_digest, digest
from provisioners.hosts.environment import environment_commands
from provisioners.hosts.facts import Facts, gather_facts
from provisioners.hosts.model import model_commands
from provisioners.hosts.wanted import HostSpec
from provisioners.hosts.watching import Narrate
from provisioners.transport import Transport

ARCHIVE = "payload.tar.gz"
AGENT_DEADLINE_S = 60.0
SWITCH_DEADLINE_S = 120.0
SWITCH_LOG = "run/deadman.log"
GONE_S = 1.5
"""So long without a process, and an agent that was started has ended: more than its supervisor waits at first."""


def bootstrap(facts: Facts, wanted: HostSpec) -> tuple[Command, ...]:
    """The commands still needed, in order; none when all is there. Each may be done twice.

    Raises HostError for what no command mends: HostLied where the machine is not what was offered, HostUnfit where
    engines can't run on it.
    """
    return tuple(command for _, commands in _parts(facts, wanted) for command in commands)


def _parts(facts: Facts, wanted: HostSpec) -> tuple[tuple[str, tuple[Command, ...]], ...]:
    """The commands, part by part: each with the crash point that comes after it."""
    check_host(facts, wanted)
    return (
        ("B1", tuple(environment_commands(facts, wanted))),
        ("B2", (*stop_commands(facts, wanted), *_files(facts, wanted))),
        ("B3", tuple(model_commands(facts, wanted))),
        ("B4", start_commands(facts, wanted)),
    )


async def prepare(
    transport: Transport,
    wanted: HostSpec,
    *,
    narrate: Narrate = lambda _text: None,
    still_s: float = 1200.0,
    most_s: float = inf,
    poll_s: float = 0.25,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Facts:
    """Make the instance as wanted and return its facts, its agent listening. `narrate` is told what is being done.

    Raises HostError for what `bootstrap` says, for a command that failed and, with the end of its log, for an agent
    that ended; HostUnfit for a machine without its switch; HostSilent where nothing moves for `still_s`, or all of it
    takes longer than `most_s`.
    """
    doing = ["look at what is there"]
    began = last = asyncio.get_running_loop().time()

    def told(text: str) -> None:
        doing[0] = text
        narrate(text)

    def moved() -> None:
        nonlocal last
        last = asyncio.get_running_loop().time()
        limit.reschedule(min(last + still_s, began + most_s))

    try:
        async with asyncio.timeout(min(still_s, most_s)) as limit:
            facts = await look(transport, wanted)
            for label, commands in _parts(facts, wanted):
                for command in commands:
                    await carry_out(transport, command, told, moved)
                crash_point(label)
            moved()
            facts = await _listening(transport, wanted, poll_s=poll_s, clock=clock, sleep=sleep)
            facts = await _switched(transport, wanted, facts, poll_s=poll_s, clock=clock, sleep=sleep)
    except TimeoutError:
        now = asyncio.get_running_loop().time()
        stood = f"Nothing moved on the instance for {still_s:g} s"
        slow = f"The instance was not prepared within {most_s:g} s, and should be several times quicker"
        raise HostSilent(f"{stood if now - last >= still_s else slow}: it was to {doing[0]}.") from None
    crash_point("B5")
    return facts


async def look(transport: Transport, wanted: HostSpec) -> Facts:
    """The facts that decide what is still needed."""
    return await gather_facts(transport, wanted.probe_arguments, probe=wanted.scripts.probe)


async def _listening(
    transport: Transport,
    wanted: HostSpec,
    *,
    poll_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> Facts:
    """The facts once nothing is needed any more. What was done and is needed again can't be helped by waiting."""
    started = seen = clock()
    while left := bootstrap(facts := await look(transport, wanted), wanted):
        start = start_commands(facts, wanted)
        if more := next((command for command in left if command not in start), None):
            raise HostError(f"All was done, and still it is needed to {more.why}.")
        now = clock()
        seen = now if facts.agent_starts else seen
        if now - seen >= GONE_S or now - started >= AGENT_DEADLINE_S:
            what = "ended" if now - seen >= GONE_S else f"did not listen within {AGENT_DEADLINE_S:g} s"
            raise HostError(f"The agent {what}. The end of its log:\n{await _log(transport)}")
        await sleep(poll_s)
    return facts


async def _switched(
    transport: Transport,
    wanted: HostSpec,
    facts: Facts,
    *,
    poll_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> Facts:
    """The facts once its switch runs, which a machine starts by itself at boot: SSH may have been there before."""
    started = clock()
    while wanted.switched and not facts.switch:
        if clock() - started >= SWITCH_DEADLINE_S:
            raise HostUnfit(
                f"Its dead-man's switch did not run within {SWITCH_DEADLINE_S:g} s, by which it ends itself when "
                f"nobody speaks to it. The end of its log:\n{await _log(transport, SWITCH_LOG)}"
            )
        await sleep(poll_s)
        facts = await look(transport, wanted)
    return facts


def _files(facts: Facts, wanted: HostSpec) -> Iterator[Command]:
    if facts.payload != wanted.payload_digest:
        yield Put(ARCHIVE, wanted.payload, 0o600)
        yield Run(_unpack(wanted.payload_digest), 60.0, "unpack our code")
    if facts.tls != contents_digest(wanted.tls):
        yield Run("rm -rf tls", 10.0, "clear credentials that are not the wanted ones")
        for name, data in sorted(wanted.tls.items()):
            yield Put(f"tls/{name}", data, 0o600)
    if facts.agent_config != digest(wanted.agent_config):
        yield Put("agent.json", wanted.agent_config, 0o600)
    if facts.files != contents_digest(wanted.files):
        yield Run("rm -rf files", 60.0, "clear templates and adapters that are not the wanted ones")
        for name, source in sorted(wanted.files.items()):
            path = f"files/{name}"
            yield Put(path, source, 0o600) if isinstance(source, bytes) else Send(source, path)


def _unpack(payload_digest: str) -> str:
    """The digest is written last but one and the folder renamed last: half an archive never counts as our code."""
    return (
        "set -e; umask 077; rm -rf payload.new; mkdir payload.new; "
        f"tar -xzf {ARCHIVE} -C payload.new; printf %s {shlex.quote(payload_digest)} >payload.new/.digest; "
        f"rm -rf payload; mv payload.new payload; rm {ARCHIVE}"
    )


async def _log(transport: Transport, log: str = LOG) -> str:
    done = await transport.run(f"tail -n 20 {log}", timeout_s=10.0)
    return done.stdout.decode(errors="replace").strip() or "(empty)"
