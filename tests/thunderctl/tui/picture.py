"""The README's picture of the status screen, docs/images/status.svg: `python -m tests.thunderctl.tui.picture`."""

import asyncio
import re
from pathlib import Path

from tests.thunderctl.tui import worlds
from tests.thunderctl.tui.showing import screen, settled

PICTURE = Path(__file__).parents[3] / "docs" / "images" / "status.svg"
SIZE = (120, 40)
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


async def drawn() -> str:
    """With fonts of the reader's own: a picture in a page loads none from elsewhere."""
    app = screen(worlds.serving())
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        svg = app.export_screenshot(title="thunderctl status")
    svg = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family: (?:Fira Code|arial)[^;]*;", f"font-family: {FONT};", svg)


if __name__ == "__main__":
    PICTURE.write_text(asyncio.run(drawn()))
