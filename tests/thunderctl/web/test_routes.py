"""The pages as they are sent: headers that let a browser run nothing but ours, who may read, and who may sign in."""

import re

import aiohttp
import pytest

from tests.thunderctl.api.serving import TOKEN, served
from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import Shown, picture_plan
from thunderctl.web.routes import mount
from thunderctl.web.seen import MOST_KEPT, Seen, Sight


@pytest.fixture
async def site(tmp_path):
    async with served(tmp_path, Shown(), mounts=(mount,)) as made:
        yield made


@pytest.fixture
async def closed(tmp_path):
    """Off loopback: nobody reads without a token."""
    async with served(tmp_path, Shown(), is_open=False, mounts=(mount,)) as made:
        yield made


async def text_of(site, path, status=200, **more):
    async with site.http.get(site.url + path, **more) as answer:
        assert answer.status == status, await answer.text()
        return await answer.text()


async def sign_in(site, token=TOKEN, **headers):
    return await site.http.post(f"{site.url}/login", data={"token": token}, headers=headers, allow_redirects=False)


def kept_of(answer):
    """The cookies, as a browser would send them back."""
    return {name: one.value for name, one in answer.cookies.items()}


async def test_who_signs_in_to_two_controllers_of_a_host_is_signed_in_to_both(tmp_path):
    """A browser has one jar for all ports of a host."""
    folders = [tmp_path / name for name in "ab"]
    for one in folders:
        one.mkdir()
    async with (
        served(folders[0], Shown(), mounts=(mount,)) as first,
        served(folders[1], Shown(), mounts=(mount,)) as second,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser,
    ):
        for site in (first, second):
            await browser.post(f"{site.url}/login", data={"token": TOKEN})
        for site in (first, second):
            async with browser.get(site.url) as page:
                assert "Sign out" in await page.text()
        async with browser.post(f"{first.url}/logout"), browser.get(second.url) as page:
            assert "Sign out" in await page.text()


async def test_what_is_looked_for_is_shown_as_text(site):
    site.source.document = worlds.huge()
    html = await text_of(site, "/", params={"only": '"><script>1</script>'})
    assert "<script>1" not in html
    assert "No replica is, or serves with, “&#34;&gt;&lt;script&gt;1&lt;/script&gt;”." in html


async def test_five_hundred_replicas_are_sent_as_a_page_of_bounded_size(site):
    site.source.document = worlds.huge()
    assert len(await text_of(site, "/sections")) < 150_000
    assert len(await text_of(site, "/sections", params={"only": "decode"})) < 150_000


async def test_two_plans_of_five_hundred_replicas_are_compared_on_a_page_of_bounded_size(site):
    site.source.plans = {
        name: picture_plan(name, worlds.huge(count), worlds.NOW) for name, count in (("new", 500), ("old", 450))
    }
    html = await text_of(site, "/plans", params={"a": "old", "b": "new"})
    assert len(html) < 200_000
    assert "and 10 more" in html


def test_drawings_of_one_moment_that_are_kept_are_few(site):
    sight, seen = Sight(site.source), Seen(worlds.serving(), (), (), ())
    for n in range(100):
        assert sight.drawn(seen, n, lambda _, n=n: str(n)) == str(n)
    assert len(sight._kept.texts) == MOST_KEPT


async def test_a_token_that_comes_as_no_form_is_none(site):
    async with site.http.post(f"{site.url}/login", json={"token": TOKEN}) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("path", ["/", "/sections", "/plans", "/login"])
async def test_a_page_lets_a_browser_run_only_what_comes_from_here(site, path):
    async with site.http.get(site.url + path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        html = await answer.text()
    assert not re.search(r"<[^>]* (style|on\w+)=", html)
    assert not re.search(r"<script(?![^>]* src=)", html)
    assert not re.search(r"""(src|href)="(https?:)?//""", html)


async def test_what_is_kept_by_browsers_has_its_contents_in_its_name(site):
    (address,) = re.findall(r'href="(/static/app.css\?v=[0-9a-f]{16})"', await text_of(site, "/"))
    async with site.http.get(site.url + address) as answer:
        assert answer.content_type == "text/css"
        assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("name", ["nothing.css", "..%2froutes.py", "pages%2flogin.html"])
async def test_nothing_else_of_the_package_is_sent(site, name):
    await text_of(site, f"/static/{name}", 404)


async def test_what_is_drawn_is_drawn_once_for_all_who_look(site):
    first = await text_of(site, "/sections")
    assert await text_of(site, "/sections") == first
    site.source.document["epoch"] = 8
    assert await text_of(site, "/sections") != first


async def test_a_controller_that_cannot_read_says_so(site):
    site.source.down = "it is locked"
    assert "it is locked" in await text_of(site, "/", 503)
    assert "it is locked" in await text_of(site, "/plans", 503)


async def test_a_plan_that_is_not_there_is_named(site):
    assert "There is no plan nowhere" in await text_of(site, "/plans?a=nowhere&b=k7f3q2", 404)


async def test_the_newest_two_plans_are_compared_unless_others_are_asked_for(site):
    assert "k7f3q1 beside k7f3q2" in await text_of(site, "/plans")
    assert "k7f3q2 beside k7f3q1" in await text_of(site, "/plans?a=k7f3q2&b=k7f3q1")


async def test_one_plan_alone_is_compared_with_nothing(site):
    del site.source.plans["k7f3q1"]
    assert 'id="difference"' not in await text_of(site, "/plans")


@pytest.mark.parametrize("document", [worlds.degraded(), worlds.starting(), worlds.stopping(), worlds.alone()])
async def test_every_state_can_be_shown(site, document):
    site.source.document = document
    assert document["state"] in await text_of(site, "/")


async def test_a_document_of_an_older_version_can_be_shown(site):
    for key in ("at", "slo", "ending", "awaited", "predicted", "model", "plan_id"):
        site.source.document.pop(key)
    for one in site.source.document["instances"]:
        one.pop("gpu")
    for one in site.source.document["replicas"]:
        one.pop("max_requests")
    assert "serving" in await text_of(site, "/sections")


async def test_who_has_not_signed_in_where_it_is_wanted_comes_to_the_form(closed):
    assert "shows nothing to who has not signed in" in await text_of(closed, "/")
    await text_of(closed, "/static/app.css")
    async with closed.http.get(f"{closed.url}/api/v1/status") as answer:
        assert answer.status == 401


async def test_who_signs_in_reads(closed):
    answer = await sign_in(closed, Origin=closed.url)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert "k7f3q2" in await text_of(closed, "/", cookies=kept_of(answer))


@pytest.mark.parametrize("charset", ["utf-8", "of-nobody"])
async def test_a_form_in_letters_that_nobody_reads_is_a_wrong_token(site, caplog, charset):
    kind = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
    async with site.http.post(f"{site.url}/login", data=b"token=\xff", headers=kind) as answer:
        assert answer.status == 401
    assert not caplog.records


async def test_a_form_of_another_site_signs_nobody_in(site):
    answer = await sign_in(site, Origin="http://evil.example")
    assert (answer.status, answer.cookies) == (403, {})


async def test_a_form_of_another_site_signs_nobody_out(site):
    kept = kept_of(await sign_in(site, Origin=site.url))
    for headers in ({"Origin": "http://evil.example"}, {}):
        async with site.http.post(f"{site.url}/logout", cookies=kept, headers=headers) as answer:
            assert answer.status == 403
    assert "Sign out" in await text_of(site, "/", cookies=kept)
