"""The engine environment, made on the host by uv from a hashed lock, once for all instances there."""

from collections.abc import Iterator

from provisioners.hosts.commands import UNFIT, Command, Put, Run, Send
from provisioners.hosts.facts import Facts
from provisioners.hosts.wanted import HostSpec
from provisioners.hosts.watching import Watch
from provisioners.rendering import rendered

LOCK, UV, PROGRESS = "engine.lock", "uploads/uv", "run/environment.progress"
MAKE_TIMEOUT_S = 6 * 3600.0
"""What ends it sooner is how long nothing moves, and the limit over the whole."""


def environment_commands(facts: Facts, wanted: HostSpec) -> Iterator[Command]:
    """What is needed until an interpreter with the wanted vLLM is there. `check_host` said that it can be made."""
    environment = wanted.environment
    if environment.suits(facts.given) or environment.suits(facts.made):
        return
    yield Put(LOCK, environment.lock, 0o600)
    if environment.uv:
        yield Send(environment.uv, UV)
    yield Run(
        rendered(
            wanted.scripts.make_environment,
            made=wanted.made_environment,
            shared=wanted.shared,
            uv=UV,
            lock=LOCK,
            progress=PROGRESS,
            python=environment.python,
            managed_python=environment.managed_python,
            arguments=environment.arguments,
            vllm=environment.vllm,
            proof=environment.proof,
            unfit=UNFIT,
        ),
        MAKE_TIMEOUT_S,
        "make the engine's environment",
        watch=Watch(PROGRESS, (f"{wanted.made_environment}.new", f"{wanted.shared}/cache"), total=0),
    )
