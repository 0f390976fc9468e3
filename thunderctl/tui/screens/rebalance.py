"""A rebalance to look at and confirm: what it would change and what simulation says of that, then what it changed."""

from collections.abc import Awaitable
from enum import StrEnum
from typing import ClassVar, Protocol

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from planner.errors import ThunderError
from thunderctl.tui.background import Background
from thunderctl.tui.decision import Wish, difference, preview, refusal, result, waiting
from thunderctl.tui.frame import Document, cleaned
from thunderctl.tui.messages import Decided, NotDecided

LEAVE = "esc: leave"
NOTHING = Wish()
OTHERS = f"o c v: other workload   {LEAVE}"


class Decide(Protocol):
    """`Hands.decide`."""

    def __call__(self, workload: str, wish: Wish, *, dry_run: bool) -> Awaitable[Document]: ...


class Stage(StrEnum):
    DECIDING = "deciding"
    SHOWN = "shown"
    APPLYING = "applying"
    OVER = "over"


class RebalanceScreen(ModalScreen[None]):
    """Nothing changes before enter is pressed on what is shown; once it was, leaving undoes nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "apply", "Put in force"),
        Binding("o", "decide('observed')", "observed"),
        Binding("c", "decide('coding')", "coding"),
        Binding("v", "decide('conversation')", "conversation"),
        Binding("escape,q", "dismiss", "Leave"),
    ]

    def __init__(self, decide: Decide, background: Background, wish: Wish = NOTHING) -> None:
        super().__init__()
        self._decide = decide
        self._background = background
        self._wish = wish
        self._workload = "observed"
        self._shown: Document | None = None
        self.stage = Stage.DECIDING

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="page") as page:
            page.border_title = self._wish.title
            yield Static(id="decision", markup=False)

    def on_mount(self) -> None:
        self.action_decide(self._workload)

    def action_decide(self, workload: str) -> None:
        """Anew, for another workload than the one that is decided for."""
        if self.stage in (Stage.APPLYING, Stage.OVER):
            return
        self.stage, self._workload, self._shown = Stage.DECIDING, workload, None
        self._say(waiting(workload, self._wish), LEAVE)
        self._begin(dry_run=True)

    def action_apply(self) -> None:
        if self.stage is Stage.SHOWN and self._shown is not None and difference(self._shown, self._wish):
            self.stage = Stage.APPLYING
            self._say(preview(self._shown, self._workload, self._wish), "putting it in force …")
            self._begin(dry_run=False)
        elif self.stage is Stage.OVER:
            self.dismiss()

    def _begin(self, *, dry_run: bool) -> None:
        self.run_worker(self._ask(dry_run=dry_run), exclusive=True, exit_on_error=False)

    async def _ask(self, *, dry_run: bool) -> None:
        asked = self._decide(self._workload, self._wish, dry_run=dry_run)
        try:
            self.post_message(Decided(cleaned(await self._background.run(_awaited(asked))), applied=not dry_run))
        except ThunderError as error:
            self.post_message(NotDecided(error))

    def on_decided(self, message: Decided) -> None:
        if message.applied:
            self.stage = Stage.OVER
            self._say(result(message.document, self._shown), "enter: close")
            return
        self.stage, self._shown = Stage.SHOWN, message.document
        changes = difference(message.document, self._wish)
        confirm = "enter: put it in force   " if changes else ""
        self._say(preview(message.document, self._workload, self._wish), f"{confirm}{OTHERS}")

    def on_not_decided(self, message: NotDecided) -> None:
        self.stage = Stage.OVER if self.stage is Stage.APPLYING else Stage.SHOWN
        self._say(refusal(message.error), LEAVE if self.stage is Stage.OVER else OTHERS)

    def _say(self, text: object, keys: str) -> None:
        self.query_one("#decision", Static).update(text)  # type: ignore[arg-type]
        self.query_one(".page").border_subtitle = keys


async def _awaited(work: Awaitable[Document]) -> Document:
    return await work
