"""The status screen over a deployment by hand: what it is fed, what it has done, and how it is looked at."""

import asyncio
from collections.abc import Callable, Sequence

from tests.thunderctl.tui import worlds
from thunderctl.tui.app import StatusApp

READING = ("status", "history")


class Fed:
    """Gives the documents in turn, the last one again and again; an error is raised."""

    def __init__(self, *outcomes, events=None, series=None):
        self.outcomes = list(outcomes)
        self.told = worlds.events() if events is None else events
        self.points = worlds.series() if series is None else series
        self.reads = 0

    async def status(self):
        self.reads += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def events(self):
        return self.told

    async def series(self, seconds):
        return self.points


class Done:
    """Hands that note what they are asked for, and answer with what they are given in turn."""

    def __init__(self, *answers, logs: Sequence[tuple[str, list[str]]] = ()):
        self.answers = list(answers)
        self.logs = logs
        self.asked = []
        self.followed = asyncio.Event()

    async def decide(self, workload, wish, *, dry_run):
        self.asked.append((workload, wish.back or wish.without, dry_run))
        answer = self.answers.pop(0) if self.answers else worlds.decided()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def follow(self, names, show, say):
        self.asked.append(("logs", tuple(names)))
        for name, lines in self.logs:
            if name:
                show(name, lines)
            else:
                say(lines[0])
        await asyncio.Event().wait()


def screen(*outcomes, hands=None, clock: Callable[[], float] = lambda: worlds.NOW, **fed) -> StatusApp:
    """It reads once, and then when it is told to."""
    return StatusApp(Fed(*outcomes, **fed), hands or Done(), every_s=86_400, clock=clock)


async def settled(pilot) -> None:
    """Until nothing is read and nothing is left to draw."""
    await until(pilot, lambda: not any(one.is_running and one.name in READING for one in pilot.app.workers))


async def decided(pilot) -> None:
    """Until the page in front has its answer."""
    await until(pilot, lambda: not any(one.is_running and one.node is pilot.app.screen for one in pilot.app.workers))


async def until(pilot, so: Callable[[], bool]) -> None:
    """Until it is so, and drawn."""
    await pilot.pause()
    async with asyncio.timeout(120):
        while not so():
            await pilot.pause(0.005)
    await pilot.pause()


async def read_again(pilot) -> None:
    await pilot.press("f5")
    await settled(pilot)


def part(app: StatusApp, name: str) -> str:
    """What a part of the screen says, without colours, rows out of sight too."""
    return str(app.overview.query_one(f"#{name}").plain)


def page(app: StatusApp) -> str:
    """What stands on the page in front."""
    from textual.widgets import Static

    return "\n".join(str(one.render()) for one in app.screen.query(Static))
