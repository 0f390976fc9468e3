"""The agent's process on a host: a systemd unit where one may be made, else a session of ours that starts it again."""

from collections.abc import Iterator

from provisioners.hosts.commands import Command, Put, Run
from provisioners.hosts.facts import Facts
from provisioners.hosts.wanted import HostSpec
from provisioners.rendering import rendered

STOP_GRACE_S = 60
"""How long an agent told to stop may take, its engines finishing their requests meanwhile, before it is killed."""
LOG = "logs/agent.log"
LOG_BYTES = 32 << 20
"""A log that is longer when its agent starts becomes agent.log.1."""
SCRIPT, UNIT = "run/agent.sh", "run/agent.service"


def stop_commands(facts: Facts, wanted: HostSpec) -> Iterator[Command]:
    """An agent that was started on something else has to go before its files change under it."""
    if facts.agent and facts.agent.started_with != wanted.agent_digest(facts):
        text = rendered(
            wanted.scripts.stop_agent,
            pid=facts.agent.pid,
            grace_s=STOP_GRACE_S,
            unit=_unit(facts, wanted),
            sudo=_sudo(facts),
        )
        yield Run(text, STOP_GRACE_S + 10.0, "stop the agent, which was started on something else")


def start_commands(facts: Facts, wanted: HostSpec) -> tuple[Command, ...]:
    """Nothing where the wanted agent runs. One that starts already is not started twice: it holds a lock."""
    if facts.agent and facts.agent.started_with == wanted.agent_digest(facts):
        return ()
    digest, unit = wanted.agent_digest(facts), _unit(facts, wanted)
    script = rendered(
        wanted.scripts.agent,
        folder=wanted.folder,
        digest=digest,
        engine_python=wanted.python(facts),
        gpus=",".join(wanted.cards(facts)),
        log=LOG,
        log_bytes=LOG_BYTES,
    )
    service = rendered(
        wanted.scripts.agent_service, name=wanted.name, folder=wanted.folder, script=SCRIPT, grace_s=STOP_GRACE_S
    )
    start = rendered(
        wanted.scripts.start_agent, digest=digest, script=SCRIPT, unit=unit, unit_file=UNIT, sudo=_sudo(facts)
    )
    units = (Put(UNIT, service.encode(), 0o600),) if unit else ()
    return (Put(SCRIPT, script.encode(), 0o700), *units, Run(start, 30.0, "start the agent"))


def _unit(facts: Facts, wanted: HostSpec) -> str:
    """The unit's name; empty where there is no systemd, or where we may not tell it anything."""
    may = wanted.supervised_by_systemd and facts.systemd and (facts.root or facts.sudo)
    return f"thunder-agent-{wanted.name}.service" if may else ""


def _sudo(facts: Facts) -> str:
    return "" if facts.root else "sudo -n "
