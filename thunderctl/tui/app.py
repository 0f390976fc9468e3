"""The status screen: what `thunderctl status` shows on a terminal. Workers read beside it and post what they found."""

import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.widgets import Input

from planner.errors import ThunderError
from thunderctl.tui import pages
from thunderctl.tui.background import Background
from thunderctl.tui.decision import Wish
from thunderctl.tui.feed import Feed, Hands
from thunderctl.tui.frame import Frame
from thunderctl.tui.messages import HistoryRead, StatusFailed, StatusRead
from thunderctl.tui.screens.logs import LogsScreen
from thunderctl.tui.screens.overview import Overview
from thunderctl.tui.screens.page import Page
from thunderctl.tui.screens.rebalance import RebalanceScreen
from thunderctl.tui.series import KEPT_S
from thunderctl.tui.theme import THEME


class StatusApp(App[None]):
    """One deployment. The app holds the frame and reads it anew; screens show it."""

    CSS_PATH = "app.tcss"
    TITLE = "thunderctl"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "quit", show=False, priority=True)]

    def __init__(
        self, feed: Feed, hands: Hands, *, every_s: float = 1.0, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._feed = feed
        self._hands = hands
        self._every_s = every_s
        self._clock = clock
        self._background = Background()
        self.frame = Frame(clock())

    def on_mount(self) -> None:
        self.register_theme(THEME)
        self.theme = THEME.name
        self._background.__enter__()
        self.overview = Overview()
        self.push_screen(self.overview)
        self.set_interval(self._every_s, self._read)
        self.call_after_refresh(self._read)

    def on_unmount(self) -> None:
        self._background.__exit__(None, None, None)

    def action_read_again(self) -> None:
        self._read()

    def _read(self) -> None:
        """What is still being read is left to finish; the clock goes on meanwhile."""
        if not self._begin("status", self._read_status()):
            self._show(self.frame.at(self._clock()))
        self._begin("history", self._read_history())

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> bool:
        """Whether it was not still under way."""
        if any(worker.name == name and worker.is_running for worker in self.workers):
            work.close()
            return False
        self.run_worker(work, name=name, exit_on_error=False)
        return True

    async def _read_status(self) -> None:
        try:
            self.post_message(StatusRead(await self._background.run(self._feed.status())))
        except ThunderError as error:
            self.post_message(StatusFailed(error))

    async def _read_history(self) -> None:
        """Where only these can't be read the status says why, or the next look will."""
        try:
            events = await self._background.run(self._feed.events())
            points = await self._background.run(self._feed.series(KEPT_S))
        except ThunderError:
            return
        self.post_message(HistoryRead(events, points))

    def on_status_read(self, message: StatusRead) -> None:
        self._show(self.frame.read(message.status, self._clock()))

    def on_status_failed(self, message: StatusFailed) -> None:
        self._show(self.frame.not_read(message.error.first_line, self._clock()))

    def on_history_read(self, message: HistoryRead) -> None:
        self._show(self.frame.happened(message.events, message.points))

    def on_input_changed(self, message: Input.Changed) -> None:
        if message.input.id == "filter":
            self._show(self.frame.filtered(message.value))

    def _show(self, frame: Frame) -> None:
        self.frame = frame
        if self.overview.is_mounted:
            self.overview.show(frame)

    def action_rebalance(self) -> None:
        self.push_screen(RebalanceScreen(self._hands.decide, self._background))

    def action_drain(self) -> None:
        """Of the replica or machine that is chosen."""
        self._decide_of_chosen(lambda name: Wish(without=(name,)))

    def action_undrain(self) -> None:
        """Of the machine that is chosen; whether there is anything to take back is found out there."""
        self._decide_of_chosen(lambda name: Wish(back=name))

    def _decide_of_chosen(self, wish: Callable[[str], Wish]) -> None:
        if name := self.overview.chosen:
            self.push_screen(RebalanceScreen(self._hands.decide, self._background, wish(name)))
        else:
            self.notify("Choose a replica or a machine first: tab, then up and down.", severity="warning")

    def action_logs(self) -> None:
        """Of what is chosen; all of them where nothing is."""
        names = (self.overview.chosen,) if self.overview.chosen else ()
        self.push_screen(LogsScreen(self._hands.follow, self._background, names))

    def action_details(self) -> None:
        if event := self.overview.chosen_event:
            self.push_screen(Page("Event", pages.wrapped(event)))
        elif name := self.overview.chosen_row:
            self.push_screen(Page(name, pages.details(self.frame, name)))

    def action_alerts(self) -> None:
        self.push_screen(Page("Alerts", pages.alerts(self.frame)))

    def action_keys(self) -> None:
        self.push_screen(Page("Keys", pages.KEYS))
