"""The page of a real controller, in a process of its own; and that the deployments by hand are what one would tell."""

import json
import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest
from jsonschema import Draft202012Validator

from tests.operating import Operator, until
from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import Shown
from thunderctl.api.schemas import DOCUMENTS


@pytest.fixture
def operator(tmp_path):
    user = Operator(tmp_path)
    (tmp_path / "deployments" / "default" / "controller").mkdir(parents=True)
    process = user.start("run", "controller", "--tick-s", "0.2")
    yield user
    process.kill()
    process.communicate()
    user.end_all()


def test_a_controller_shows_its_deployment_and_lets_in_who_has_its_token(operator):
    folder = operator.home / "deployments" / "default" / "controller"
    report = folder / "controller.json"
    url = until(lambda: report.exists() and json.loads(report.read_text())["api"], 60)
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with browser.open(url, timeout=60) as answer:
        page = answer.read().decode()
    assert re.search(r'class="pill absent"', page)
    assert "Sign in" in page
    token = (folder / "api.token").read_text().strip()
    form = urllib.request.Request(
        f"{url}/login", urllib.parse.urlencode({"token": token}).encode(), headers={"Origin": url}
    )
    with browser.open(form, timeout=60) as answer:
        assert "Sign out" in answer.read().decode()


@pytest.mark.parametrize("document", [worlds.serving(), worlds.degraded(), worlds.absent(), worlds.many()])
def test_statuses_by_hand_are_what_a_controller_tells(document):
    Draft202012Validator(DOCUMENTS["Status"]).validate(document)


async def test_other_documents_by_hand_are_too():
    shown = Shown()
    Draft202012Validator(DOCUMENTS["History"]).validate(await shown.history())
    Draft202012Validator(DOCUMENTS["Series"]).validate(shown.series(3600))
    Draft202012Validator(DOCUMENTS["Events"]).validate(await shown.events())
    Draft202012Validator(DOCUMENTS["Plan"]).validate(await shown.plan("k7f3q1"))
