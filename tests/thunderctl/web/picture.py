"""The picture of the page in the README: python -m tests.thunderctl.web.picture docs/images/page.png

The deployment is made up (`deployments.py`), the server and the browser are real.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from tests.thunderctl.api.serving import served
from tests.thunderctl.web.conftest import FLAGS
from tests.thunderctl.web.deployments import Shown
from thunderctl.web.routes import mount

WIDTH, HEIGHT = 1280, 1190


async def picture() -> bytes:
    """The upper part of the page, on a wide screen in daylight."""
    async with (
        async_playwright() as playwright,
        served(Path(tempfile.mkdtemp()), Shown(), mounts=(mount,)) as site,
        await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS)) as browser,
    ):
        page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        await page.goto(site.url)
        await page.wait_for_selector("#live[data-state=live]")
        return await page.screenshot()


def main() -> None:
    Path(sys.argv[1]).write_bytes(asyncio.run(picture()))


if __name__ == "__main__":
    main()
