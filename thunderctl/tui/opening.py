"""Opens the status screen over a deployment, with what is at hand to read it by and to act on it."""

from typing import TYPE_CHECKING

from thunderctl.tui.app import StatusApp

if TYPE_CHECKING:
    from thunderctl.api.client import Api
    from thunderctl.world import World


def open_screen(world: "World") -> None:
    """Until somebody quits. Nothing that runs depends on it."""
    from thunderctl.tui.command_hands import CommandHands
    from thunderctl.tui.store_feed import StoreFeed

    StatusApp(StoreFeed(world), CommandHands(world)).run()


def open_screen_over(api: "Api") -> None:
    """The same, of a controller elsewhere."""
    from thunderctl.tui.api_side import ApiFeed, ApiHands

    StatusApp(ApiFeed(api), ApiHands(api)).run()
