"""Changes by the page: after signing in, previewed, confirmed, followed and written down; for nobody else."""

import json

import pytest
from yarl import URL

from tests.thunderctl.api.serving import TOKEN
from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import answers, asked_of
from thunderctl.api.auth import cookie_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

POST = """async (path) => {
  const headers = {"Content-Type": "application/json"};
  return (await fetch(path, {method: "POST", headers, body: "{}"})).status;
}"""
NOTES_ENDS = """() => {
  const own = window.fetch;
  window.fetch = async (path, ...more) => {
    const answer = await own(path, ...more);
    const said = String(path).includes("/jobs/") ? await answer.clone().json() : {};
    if (said.state === "done") document.body.dataset.ended = "";
    return answer;
  };
}"""
HOSTILE = '<img src=x onerror="window.hit=1">'
STEPS = {
    "schema": "thunder.apply/v1",
    "steps": [{"what": "lease", "id": "i5", "state": "planned"}],
    "cost_usd_per_hour": 13.16,
}


async def sign_in(page, token=TOKEN):
    await page.click("text=Sign in")
    await page.fill("#token", token)
    await page.click("main button")


async def test_who_has_not_signed_in_sees_no_controls_and_is_refused(looking, tmp_path):
    async with looking(expected=("401",)) as page:
        assert await page.locator("[data-do]").count() == 0
        for path in ("rebalance", "drain", "up", "down"):
            assert await page.evaluate(POST, f"/api/v1/{path}") == 401
    assert asked_of(tmp_path) == []


async def test_a_wrong_token_is_refused_and_written_down(looking, site):
    async with looking(expected=("401",)) as page:
        await sign_in(page, "not-the-token")
        assert "not the token" in await page.inner_text("[role=alert]")
        assert await page.context.cookies() == []
    assert [one["detail"]["action"] for one in site.source.told if one["kind"] == "audit"] == ["sign in"]


async def test_a_session_is_out_of_reach_of_scripts_and_other_sites(looking, site):
    async with looking() as page:
        await sign_in(page)
        await page.wait_for_selector("text=Sign out")
        (cookie,) = await page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (
            cookie_of(URL(site.url).port),
            True,
            "Strict",
        )
        assert await page.evaluate("document.cookie") == ""
        assert TOKEN not in cookie["value"]


async def test_a_rebalance_is_previewed_confirmed_and_followed(looking, site, tmp_path):
    async with looking() as page:
        await sign_in(page)
        await page.click("#rebalance")
        await page.select_option("#workload", "coding")
        await page.click("text=Preview")
        await page.wait_for_selector("#ask >> text=prefill was the bottleneck")
        assert "d2: decode → prefill" in await page.inner_text("#ask-body")
        assert [words for words in asked_of(tmp_path) if "--dry-run" not in words] == []
        (tmp_path / "hold").touch()
        await page.click("text=Put in force")
        await page.wait_for_selector("#ask pre >> text=begun")
        (tmp_path / "hold").unlink()
        await page.wait_for_selector("text=Epoch 7 is in force")
    assert [("--dry-run" in words, words[words.index("--workload") + 1]) for words in asked_of(tmp_path)] == [
        (True, "coding"),
        (False, "coding"),
    ]
    audited = [one["detail"] for one in site.source.told if one["kind"] == "audit"]
    assert [(one["via"], one["action"], one["outcome"]) for one in audited] == [
        ("session", "rebalance", "accepted"),
        ("session", "rebalance", "done"),
    ]


async def test_who_closes_the_preview_changes_nothing(looking, tmp_path):
    async with looking() as page:
        await sign_in(page)
        await page.click("#rebalance")
        await page.click("text=Preview")
        await page.wait_for_selector("text=Put in force")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#ask", state="hidden")
    assert all("--dry-run" in words for words in asked_of(tmp_path))


async def test_where_nothing_would_change_there_is_nothing_to_confirm(looking, tmp_path):
    answers(tmp_path, rebalance=worlds.decided(flips=False))
    async with looking() as page:
        await sign_in(page)
        await page.click("#rebalance")
        await page.click("text=Preview")
        await page.wait_for_selector("#ask >> text=Nothing would change")
        assert await page.locator("#ask button").count() == 1


async def test_what_one_change_answers_is_not_shown_under_the_title_of_the_next(looking, tmp_path):
    async with looking() as page:
        await sign_in(page)
        await page.evaluate(NOTES_ENDS)
        await page.click("#rebalance")
        await page.click("text=Preview")
        await page.wait_for_selector("text=Put in force")
        (tmp_path / "hold").touch()
        await page.click("text=Put in force")
        await page.wait_for_selector("#ask pre >> text=begun")
        await page.keyboard.press("Escape")
        await page.click("[aria-label='Drain i2']")
        (tmp_path / "hold").unlink()
        await page.wait_for_selector("body[data-ended]")
        await page.evaluate("new Promise((done) => setTimeout(done, 50))")
        assert await page.inner_text("#ask-title") == "Drain i2"
        assert "For which workload?" in await page.inner_text("#ask-body")


async def test_one_route_is_said_to_be_one(looking, tmp_path):
    answers(tmp_path, rebalance={**worlds.decided(), "routes": worlds.decided()["routes"][:1]})
    async with looking() as page:
        await sign_in(page)
        await page.click("#rebalance")
        await page.click("text=Preview")
        await page.wait_for_selector("#ask >> text=1 route.")


async def test_an_instance_is_drained(looking, tmp_path):
    async with looking() as page:
        await sign_in(page)
        await page.click("[aria-label='Drain i2']")
        assert await page.inner_text("#ask-title") == "Drain i2"
        await page.click("text=Preview")
        await page.click("#ask-buttons >> text=Drain")
        await page.wait_for_selector("text=Drained: epoch 7")
    assert ["--without=i2" in words for words in asked_of(tmp_path)] == [True, True]


async def test_an_instance_that_was_drained_is_taken_back(looking, site, tmp_path):
    answers(tmp_path, undrain=worlds.decided())
    site.source.document["replicas"] = [one for one in worlds.serving()["replicas"] if "i2" not in one["instances"]]
    async with looking() as page:
        await sign_in(page)
        assert await page.locator("[aria-label='Drain i2']").count() == 0
        await page.click("[aria-label='Undrain i2']")
        await page.click("text=Preview")
        await page.click("#ask-buttons >> text=Undrain")
        await page.wait_for_selector("text=Taken back: epoch 7")
    asked = [words for words in asked_of(tmp_path) if "undrain" in words]
    assert [("i2" in words, "--dry-run" in words) for words in asked] == [(True, True), (True, False)]


async def test_an_earlier_plan_is_gone_back_to(looking, site, tmp_path):
    answers(tmp_path, up=STEPS)
    async with looking() as page:
        await sign_in(page)
        await page.wait_for_selector("#rebalance")
        await page.goto(f"{site.url}/plans")
        assert await page.locator("[data-do=up]").count() == 1
        await page.click("[data-do=up]")
        await page.wait_for_selector("#ask >> text=lease i5")
        await page.click("text=Bring it up")
        await page.wait_for_selector("text=It is up.")
    assert [("k7f3q1" in words, "--dry-run" in words) for words in asked_of(tmp_path)] == [(True, True), (True, False)]


async def test_a_change_that_is_refused_says_why_and_none_of_it_is_run(looking, tmp_path):
    error = {"kind": "Refused", "message": f"Over the budget {HOSTILE}.", "hint": "Raise it."}
    answers(tmp_path, rebalance={"error": error})
    async with looking(expected=("409",)) as page:
        await sign_in(page)
        await page.click("#rebalance")
        await page.click("text=Preview")
        assert f"Over the budget {HOSTILE}. Raise it." in await page.inner_text("#ask [role=alert]")
        assert await page.evaluate("window.hit") is None


async def test_one_that_fails_on_the_way_is_told(looking, tmp_path):
    async with looking() as page:
        await sign_in(page)
        await page.click("#rebalance")
        await page.click("text=Preview")
        await page.wait_for_selector("text=Put in force")
        error = {"kind": "HostError", "message": "The router gave no answer.", "hint": ""}
        (tmp_path / "rebalance.json").write_text(json.dumps({"error": error}))
        await page.click("text=Put in force")
        assert "The router gave no answer." in await page.inner_text("#ask [role=alert]")


async def test_who_signs_out_is_refused_again(looking, site, tmp_path):
    async with looking(expected=("401",)) as page:
        await sign_in(page)
        (cookie,) = await page.context.cookies()
        await page.click("text=Sign out")
        await page.wait_for_selector("text=Sign in")
        assert await page.locator("[data-do]").count() == 0
        kept = {"Cookie": f"{cookie['name']}={cookie['value']}", "Origin": site.url}
        async with site.http.post(f"{site.url}/api/v1/rebalance", json={}, headers=kept) as answer:
            assert answer.status == 401
    assert asked_of(tmp_path) == []


async def test_a_preview_survives_what_changes_below_it(looking, site):
    async with looking() as page:
        await sign_in(page)
        await page.click("#rebalance")
        await page.click("text=Preview")
        await page.wait_for_selector("text=Put in force")
        site.source.document = worlds.degraded()
        await page.wait_for_selector("#state .pill.degraded", state="attached")
        assert await page.is_visible("text=Put in force")
