"""Prepare an instance, the same way everywhere: facts → the commands still needed → run → verify."""

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from planner.errors import HostError
from provisioners.facts import Facts, digest, folder_digest, gather_facts
from provisioners.rendering import rendered
from provisioners.transport import Transport

STOP_GRACE_S = 60
"""How long an agent told to stop may take, its engines finishing their requests meanwhile, before it is killed."""
ARCHIVE = "payload.tar.gz"
LOG = "logs/agent.log"


@dataclass(frozen=True, slots=True)
class HostScripts:
    """The texts of `templates/probe.py`, `start_agent.sh.j2` and `stop_agent.sh.j2`."""

    probe: str
    start_agent: str
    stop_agent: str


@dataclass(frozen=True, slots=True)
class HostSpec:
    """What an instance shall have. The same spec again needs no command, so it must not differ without a reason.

    `engine_python` is the interpreter with vLLM on the instance; `payload` our code as tar.gz and `payload_digest` its
    digest; `agent_config` the bytes of agent.json; `tls` the files of tls/ by name; `model` a folder on the instance
    (empty: none is needed) and `model_digest` what it must be (empty: anything with a config.json).
    """

    engine_python: str
    payload: bytes = field(repr=False)
    payload_digest: str
    agent_config: bytes = field(repr=False)
    tls: Mapping[str, bytes] = field(repr=False)
    scripts: HostScripts = field(repr=False)
    model: str = ""
    model_digest: str = ""

    @property
    def digest(self) -> str:
        """Of all that a running agent depends on: an agent that was started with another is stopped and started."""
        parts = (self.engine_python, self.payload_digest, digest(self.agent_config), folder_digest(self.tls))
        return digest("\n".join(parts).encode())


@dataclass(frozen=True, slots=True)
class Put:
    """Make the file `path` hold `data`."""

    path: str
    data: bytes = field(repr=False)
    mode: int

    @property
    def why(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class Run:
    """Run a shell command; `why` says what for, in words that continue "to ..."."""

    command: str
    timeout_s: float
    why: str


Command = Put | Run


def bootstrap(facts: Facts, wanted: HostSpec) -> tuple[Command, ...]:
    """The commands still needed, in order; none when all is there. Each may be done twice.

    Raises HostError for what no command mends: no working interpreter, no vLLM, no model.
    """
    _check(facts, wanted)
    if facts.agent and facts.agent.started_with == wanted.digest:
        return ()
    return (*_stop(facts, wanted), *_files(facts, wanted), *_start(wanted))


async def prepare(
    transport: Transport,
    wanted: HostSpec,
    *,
    narrate: Callable[[str], None] = lambda _text: None,
    deadline_s: float = 60.0,
    poll_s: float = 0.25,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Facts:
    """Make the instance as wanted and return its facts, its agent listening. `narrate` is told what is being done.

    Raises HostError, with the end of the agent's log when that is what failed.
    """
    facts = await _facts(transport, wanted)
    commands = bootstrap(facts, wanted)
    for command in commands:
        narrate(command.why)
        await carry_out(transport, command)
    started, absences = clock(), 0
    while bootstrap(facts := await _facts(transport, wanted), wanted):
        absences = 0 if facts.agent_starts else absences + 1
        if absences > 1 or clock() - started >= deadline_s:
            what = "ended" if absences > 1 else f"did not listen within {deadline_s:g} s"
            raise HostError(f"The agent {what}. The end of its log:\n{await _log(transport)}")
        await sleep(poll_s)
    return facts


async def carry_out(transport: Transport, command: Command) -> None:
    """Do one command. Raises HostError."""
    match command:
        case Put(path, data, mode):
            await transport.put(path, data, mode)
        case Run(text, timeout_s, why):
            done = await transport.run(text, timeout_s=timeout_s)
            if done.code != 0:
                raise HostError(f"The command to {why} failed with code {done.code}: {done.complaint}")


def _check(facts: Facts, wanted: HostSpec) -> None:
    if not facts.python:
        raise HostError(
            f"The engine's interpreter {wanted.engine_python} does not work there: {facts.problem}.",
            hint="Make it (here: make setup), or name it in THUNDER_ENGINE_PYTHON.",
        )
    if not facts.vllm:
        raise HostError(f"{wanted.engine_python} has no vLLM.", hint="Install requirements/engine.txt there.")
    if wanted.model and not facts.model:
        raise HostError(f"The instance has no model at {wanted.model}; expected a folder with config.json.")
    if wanted.model_digest and facts.model != wanted.model_digest:
        raise HostError(f"The files of the model at {wanted.model} are not those expected, by name and size.")


def _stop(facts: Facts, wanted: HostSpec) -> Iterator[Command]:
    if facts.agent:
        text = rendered(wanted.scripts.stop_agent, pid=facts.agent.pid, grace_s=STOP_GRACE_S)
        yield Run(text, STOP_GRACE_S + 10.0, "stop the agent, which was started on something else")


def _files(facts: Facts, wanted: HostSpec) -> Iterator[Command]:
    if facts.payload != wanted.payload_digest:
        yield Put(ARCHIVE, wanted.payload, 0o600)
        yield Run(_unpack(wanted.payload_digest), 60.0, "unpack our code")
    if facts.tls != folder_digest(wanted.tls):
        yield Run("rm -rf tls", 10.0, "clear credentials that are not the wanted ones")
        for name, data in sorted(wanted.tls.items()):
            yield Put(f"tls/{name}", data, 0o600)
    if facts.agent_config != digest(wanted.agent_config):
        yield Put("agent.json", wanted.agent_config, 0o600)


def _start(wanted: HostSpec) -> Iterator[Command]:
    text = rendered(wanted.scripts.start_agent, engine_python=wanted.engine_python, digest=wanted.digest)
    yield Run(text, 30.0, "start the agent")


def _unpack(payload_digest: str) -> str:
    """The digest is written last but one and the folder renamed last: half an archive never counts as our code."""
    return (
        "set -e; umask 077; rm -rf payload.new; mkdir payload.new; "
        f"tar -xzf {ARCHIVE} -C payload.new; printf %s {shlex.quote(payload_digest)} >payload.new/.digest; "
        f"rm -rf payload; mv payload.new payload; rm {ARCHIVE}"
    )


async def _facts(transport: Transport, wanted: HostSpec) -> Facts:
    return await gather_facts(
        transport, engine_python=wanted.engine_python, model=wanted.model, probe=wanted.scripts.probe
    )


async def _log(transport: Transport) -> str:
    done = await transport.run(f"tail -n 20 {LOG}", timeout_s=10.0)
    return done.stdout.decode(errors="replace").strip() or "(empty)"
