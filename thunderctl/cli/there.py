"""Commands of a deployment that lives on a host of one's own (`[controller] where`): run there, over SSH, as typed.

Only what looks at no deployment runs here whatever is said. `up` moves a deployment to where its spec says it lives.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import Incomplete, Refused, SpecError
from thunderctl.cli import output
from thunderctl.cli.options import confirm
from thunderctl.home import checked_deployment, thunder_home

if TYPE_CHECKING:
    from thunderctl.hosted.note import Away
    from thunderctl.hosted.place import ControlHost
    from thunderctl.spec.spec import Spec

HERE_ALWAYS = ("init", "offers", "plan", "predict", "run", "simulate")
HELP = ("--help", "-h")
HOME, HOST_GONE = "--home", "--host-gone"


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line: `words` are what follows the command's name."""

    deployment: str
    command: str
    words: tuple[str, ...]

    def value(self, option: str) -> str | None:
        """What an option was given as its value."""
        for word, after in zip(self.words, (*self.words[1:], ""), strict=False):
            if word == option:
                return after
            if word.startswith(f"{option}="):
                return word.removeprefix(f"{option}=")
        return None

    def without(self, option: str, *, valued: bool = False) -> tuple[str, ...]:
        """The words but for that option."""
        left, skip = list[str](), False
        for word in self.words:
            if skip or word == option or word.startswith(f"{option}="):
                skip = valued and not skip and word == option
                continue
            left.append(word)
        return tuple(left)


def read_typed(arguments: Sequence[str]) -> Typed | None:
    """None for what is no command of a deployment's, such as help."""
    deployment, words = "default", list(arguments)
    while words and words[0].startswith("-"):
        option, equals, value = words.pop(0).partition("=")
        if option != "--deployment" or not (equals or words):
            return None
        deployment = value if equals else words.pop(0)
    if not words or any(word in HELP for word in words[: words.index("--") if "--" in words else None]):
        return None
    return Typed(deployment, words[0], tuple(words[1:]))


def run_where_it_lives(arguments: Sequence[str]) -> int | None:
    """The exit code of the command as it ran where its deployment lives; None where that is here."""
    typed = read_typed(arguments)
    if typed is None or typed.command in HERE_ALWAYS or os.environ.get("THUNDER_API_URL"):
        return None
    if typed.command == "up":
        return _up(typed)
    if typed.command == "down" and HOST_GONE in typed.words:
        _take_back(typed)
        return None
    away = _away(typed.deployment)
    if away is None:
        return None
    if typed.command == "copy-store":
        raise SpecError(
            f"Deployment {typed.deployment} lives on {away.host.name}, and so does its store.",
            hint=f"Bring it home first: thunderctl down {HOME}",
        )
    if typed.command == "down":
        return _down(typed, away)
    return _forward(typed, away)


def _away(deployment: str) -> "Away | None":
    """Where it lives, if that is not here. Raises Incomplete while it is neither here nor there."""
    if not (thunder_home() / "deployments" / checked_deployment(deployment) / "away.json").exists():
        return None  # before anything is imported that takes long
    from thunderctl.hosted.note import Moving, read_away

    away = read_away(deployment)
    if away is None or away.moving is Moving.THERE:
        return away
    from thunderctl.hosted.moving import handed_over
    from thunderctl.store.store import Store

    with Store() as store:
        if not handed_over(store, away):
            return None
    raise Incomplete(
        f"Deployment {deployment} is on its way to {away.host.name}, and nothing looks after it meanwhile.",
        hint=f"Go on with it: thunderctl --deployment {deployment} up",
    )


def _forward(typed: Typed, away: "Away") -> int:
    from thunderctl.hosted.asking import as_there, run_there

    words = _with_written_spec(typed, away) if typed.command == "gc" else typed.words
    asked = as_there(typed.command, words, away.folder)
    if asked.files:
        from thunderctl.hosted.moving import send

        asyncio.run(send(away.host, asked.files))
    return run_there(away, asked.words)


def _up(typed: Typed) -> int | None:
    """Have it live where its spec says, and run `up` there."""
    from thunderctl.hosted.asking import as_there, run_there
    from thunderctl.hosted.moving import send
    from thunderctl.hosted.note import Moving, read_away

    spec, away = _spec(typed), read_away(typed.deployment)
    host = _host(spec, away)
    if host is None:
        return None
    is_there = away is not None and away.moving is Moving.THERE
    if "--dry-run" in typed.words and not is_there:
        output.narrate(f"{typed.deployment} would live on {host.name}; these are the steps as seen from here.")
        return None
    if away is None or "--dry-run" not in typed.words:
        away = _settled(typed, host, spec, away)
    words = _with_written_spec(typed, away)
    asked = as_there("up", words, away.folder)
    asyncio.run(send(away.host, asked.files))
    code = run_there(away, asked.words)
    if code == 0 and "--dry-run" not in typed.words:
        output.narrate(f"{typed.deployment} lives on {host.name}: this machine may sleep, or be off.")
    return code


def _host(spec: "Spec | None", away: "Away | None") -> "ControlHost | None":
    """The host that it is to live on. Raises Refused where it lives on another one."""
    from thunderctl.hosted.place import host_of

    stated = spec is not None and "where" in spec.controller.model_fields_set
    if away is None or (stated and spec is not None):
        wanted = host_of(spec.controller.where, spec) if spec is not None else None
    else:
        wanted = away.host
    if away is not None and (wanted is None or wanted.address != away.host.address):
        raise Refused(
            f"Deployment {away.deployment} lives on {away.host.name} ({away.host.address}); [controller] where says "
            f"{wanted.address if wanted else 'local'}.",
            hint=f"Bring it home first, which takes it down: thunderctl down {HOME}",
        )
    return wanted


def _settled(typed: Typed, host: "ControlHost", spec: "Spec | None", away: "Away | None") -> "Away":
    """The host made ready, and the deployment moved there if it is not there yet."""
    from thunderctl.hosted.credentials import asked_of, needed, said
    from thunderctl.hosted.moving import move, settle_in
    from thunderctl.hosted.note import Moving
    from thunderctl.hosted.spec_there import keys_sent
    from thunderctl.store.moving import refuse_unmovable
    from thunderctl.world import open_world

    if away is not None and away.moving is Moving.THERE:
        variables = needed(spec, (), os.environ) if spec is not None else {}
        asyncio.run(settle_in(host, typed.deployment, variables, output.narrate))
        return away
    with open_world(typed.deployment) as world:
        refuse_unmovable(world.store, world.name)
        leased_at = {row.provider for row in world.store.leases(world.name) if row.state.may_cost}
        wanted, keys = spec if spec is not None else world.spec(), keys_sent(spec) if spec is not None else ()
        variables = needed(wanted, leased_at, os.environ)
        output.narrate(said(variables, host.name, keys, asked=asked_of(wanted, leased_at)))
        question = f"Have {world.name} live on {host.name} ({host.address}), with these there?"
        confirm(question, yes=not {"--yes", "-y"}.isdisjoint(typed.words))
        prepared = asyncio.run(settle_in(host, world.name, variables, output.narrate))
        return asyncio.run(move(world, host, prepared.folder, output.narrate))


def _spec(typed: Typed) -> "Spec | None":
    """The written one; None where there is none here."""
    from thunderctl.spec.spec import DEFAULT_PATH, load_spec

    named = typed.value("--spec")
    return load_spec(Path(named) if named else None) if named or DEFAULT_PATH.exists() else None


def _with_written_spec(typed: Typed, away: "Away") -> tuple[str, ...]:
    """The words, with the spec that is written here as it is there; its files are sent."""
    from thunderctl.hosted.moving import send
    from thunderctl.hosted.place import FILES
    from thunderctl.hosted.spec_there import spec_there

    spec = _spec(typed)
    if spec is None:
        return typed.words
    files = f"{away.folder}/{FILES}"
    there = spec_there(spec, files)
    with tempfile.TemporaryDirectory(prefix="thunder-spec-") as folder:
        written = Path(folder) / "thunder.toml"
        written.write_bytes(there.text)
        asyncio.run(send(away.host, {**there.files, f"{files}/thunder.toml": written}))
    return (*typed.without("--spec", valued=True), "--spec", f"{files}/thunder.toml")


def _down(typed: Typed, away: "Away") -> int:
    """Run it there; with --home bring the deployment home when it is down."""
    from thunderctl.hosted.asking import run_there
    from thunderctl.hosted.moving import bring_home, was_given_back
    from thunderctl.world import open_world

    with open_world(typed.deployment) as world:
        if HOME not in typed.words or not was_given_back(away):
            code = run_there(away, ("down", *typed.without(HOME)))
            if code != 0 or HOME not in typed.words:
                return code
        asyncio.run(bring_home(world, away, output.narrate))
        output.narrate(f"{typed.deployment} lives here again, with its history and client keys.")
        return 0


def _take_back(typed: Typed) -> None:
    """On the user's word that nothing looks after it elsewhere any more: have it live here, as it was when it left."""
    from thunderctl.hosted.moving import take_back_unasked
    from thunderctl.hosted.note import read_away
    from thunderctl.world import open_world

    away = read_away(typed.deployment)
    if away is None:
        return
    question = f"Does nothing on {away.host.name} look after {typed.deployment} any more, for good?"
    confirm(question, yes=not {"--yes", "-y"}.isdisjoint(typed.words))
    with open_world(typed.deployment) as world:
        take_back_unasked(world, away)
    output.narrate("What was leased since it moved has no row here: afterwards look with `thunderctl gc`.")
