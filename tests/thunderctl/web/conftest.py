"""One headless Chromium for all tests of the page, and a server with a made-up deployment for each of them."""

import shutil
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import pytest
import pytest_asyncio

from tests.thunderctl.api.serving import served
from tests.thunderctl.web.deployments import Shown, answers
from thunderctl.api import app
from thunderctl.api.live import Live
from thunderctl.web.routes import mount

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
NETWORK = "ERR_NETWORK_CHANGED"
"""What Chromium says when an interface comes or goes, which other tests make and remove."""
PATIENT_MS = 60_000
"""How long something may take says more of the machine than of the page."""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chromium():
    """Debian's."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Debian's package chromium is missing: requirements/system-deps.sh")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path, monkeypatch):
    """The API and the page over a deployment that a test changes; `tmp_path` has what its commands answer."""
    monkeypatch.setattr(app, "Live", lambda source, numbers: Live(source, numbers, every_s=0.02))
    async with served(tmp_path, Shown(), mounts=(mount,)) as made:
        answers(tmp_path)
        yield made


@pytest.fixture
def looking(chromium, site):
    """Opens pages of the site. When they are closed, nothing may have gone wrong in them but what was `expected`."""

    @asynccontextmanager
    async def look(path="/", *, width=1280, expected=(), wait=True, **how):
        context = await chromium.new_context(viewport={"width": width, "height": 900}, **how)
        context.set_default_timeout(PATIENT_MS)
        page, wrong = await context.new_page(), []
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        await page.goto(urljoin(site.url, path))
        if wait:
            await page.wait_for_selector("#live[data-state=live]")
        try:
            yield page
        finally:
            await context.close()
        known = (*expected, NETWORK)
        assert [one for one in wrong if not any(words in one for words in known)] == []

    return look
