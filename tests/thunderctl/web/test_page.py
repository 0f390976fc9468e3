"""The page in a real browser: what is live comes by itself, at any width, in both themes, and nothing of it is run."""

from contextlib import AsyncExitStack

import pytest

from tests.thunderctl.api.serving import served
from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import Shown, whole_series
from thunderctl.web.routes import mount

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = 390
MOST_NODES = 2000
"""Of 500 replicas' page: one that draws each has 20,000."""
HOSTILE = '<img src=x onerror="window.hit=1">'
SMALL_TEXT = """() => [...document.querySelectorAll("body *")].filter((one) =>
  one.checkVisibility({visibilityProperty: true})
  && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
  && parseFloat(getComputedStyle(one).fontSize) < 12).map((one) => one.outerHTML)"""
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
CONTRASTS = """() => {
  const light = (text) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const part = (n) => { const c = n / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const probe = document.body.appendChild(document.createElement("i"));
  const of = (name) => { probe.style.color = `var(--${name})`; return light(getComputedStyle(probe).color); };
  const found = {};
  const inks = ["ink", "faint", "accent", "good", "warn", "bad", "prefill", "decode", "mixed"];
  for (const ground of ["card", "ground"]) for (const ink of inks) {
    const [low, high] = [of(ink), of(ground)].sort((a, b) => a - b);
    found[`${ink} on ${ground}`] = (high + 0.05) / (low + 0.05);
  }
  return found;
}"""
MISSED = """() => [...document.querySelectorAll("#topology .band")].filter((band) => {
  const top = band.closest(".bands").getBoundingClientRect().top, box = band.getBoundingClientRect();
  const rows = (id) => [...document.querySelectorAll("#topology .replica")].filter((one) =>
    one.dataset.id === id).map((one) => one.getBoundingClientRect());
  const meets = (id, x, side, low, high) => rows(id).some((row) =>
    Math.abs(row[side] - x) < 2 && row.top <= top + low + 0.5 && top + high <= row.bottom + 0.5);
  const {from: prefill, to: decode} = band.dataset;
  const edges = band.getAttribute("d").match(/-?[0-9.]+/g).map(Number), left = [edges[1], edges[14]];
  const right = [edges[7], edges[8]];
  return !meets(prefill, box.left, "right", ...left) || !meets(decode, box.right, "left", ...right);
}).map((band) => `${band.dataset.from} ${band.dataset.to}`)"""


async def test_what_changes_comes_without_a_reload(looking, site):
    async with looking() as page:
        await page.evaluate("window.first = true")
        assert "epoch 7" in (await page.inner_text("#state")).replace("\n", " ")
        site.source.document |= {"epoch": 8, "state": "degraded", "alerts": ["d1 can't serve: its agent is silent."]}
        await page.wait_for_selector("#state .pill.degraded")
        await page.wait_for_selector("text=d1 can't serve")
        assert "epoch 8" in (await page.inner_text("#state")).replace("\n", " ")
        assert await page.evaluate("window.first")
        assert await page.title() == "▲ default · thunderctl"


async def test_events_and_points_come_as_they_happen(looking, site):
    async with looking() as page:
        site.source.happens("rebalance", "epoch 9: d2 decode → prefill, as prompts got longer")
        await page.wait_for_selector("#events >> text=as prompts got longer")
        before = await page.get_attribute("#chart-rate path.line", "d")
        site.source.points.append({**site.source.points[-1], "at": worlds.NOW, "rate_rps": 3.21})
        await page.wait_for_selector("#chart-rate >> text=3.21/s")
        assert await page.get_attribute("#chart-rate path.line", "d") != before


async def test_a_machine_without_a_region_has_no_comma_after_its_provider(looking, site):
    first, second, *_ = site.source.document["instances"]
    first |= {"provider": "ssh", "region": "", "interruptible": False}
    second |= {"provider": "local", "region": "local", "interruptible": False}
    async with looking() as page:
        shown = await page.locator("#instances tbody td[data-name=provider]").all_inner_texts()
    assert [one.strip() for one in shown[:2]] == ["ssh", "local"]


async def test_names_that_are_markup_are_shown_and_not_run(looking, site):
    document = site.source.document
    rename = {one["id"]: f"{one['id']}{HOSTILE}" for key in ("instances", "replicas") for one in document[key]}
    for one in (*document["instances"], *document["replicas"]):
        one["id"] = rename[one["id"]]
    for one in document["instances"]:
        one |= {"provider": HOSTILE, "region": HOSTILE, "gpu": HOSTILE, "problem": HOSTILE, "state": HOSTILE}
    for one in document["replicas"]:
        one |= {"instances": [rename[name] for name in one["instances"]], "state": "failed", "detail": HOSTILE}
    for one in document["routes"]:
        one |= {"prefill": rename[one["prefill"]], "decode": rename[one["decode"]], "codec": HOSTILE}
    document |= {"deployment": HOSTILE, "model": HOSTILE, "endpoint": HOSTILE, "alerts": [HOSTILE]}
    site.source.happens(HOSTILE, HOSTILE)
    site.source.plans["k7f3q1"]["instances"][0]["gpu"] = f'"{HOSTILE}'
    async with looking(expected=("404",)) as page:
        assert HOSTILE in await page.inner_text("#instances tbody tr:first-child th")
        document["alerts"] = [f"{HOSTILE} again"]
        await page.wait_for_selector("text=again")
        assert await page.evaluate("window.hit") is None
        assert await page.locator("img").count() == 0
        await page.goto(f"{site.url}/plans?a={HOSTILE}&b=k7f3q2")
        assert HOSTILE in await page.inner_text("[role=alert]")
        assert await page.evaluate("window.hit") is None


@pytest.mark.parametrize("width", [PHONE, 1280])
async def test_nothing_is_wider_than_the_page_nor_too_small_to_read(looking, site, width):
    made = {
        "serving": (worlds.serving(), whole_series()),
        "degraded": (worlds.degraded(), whole_series(late=True)),
        "absent": (worlds.absent(), []),
        "many": (worlds.many(), whole_series()),
        "huge": (worlds.huge(), whole_series()),
        "long names": (worlds.long_names(), whole_series()),
    }
    async with looking(width=width) as page:
        for name, (document, points) in made.items():
            site.source.document, site.source.points = document, points
            await page.goto(site.url)
            assert await page.evaluate(TOO_WIDE) <= 0, name
            assert await page.evaluate(SMALL_TEXT) == [], name
        for path in ("/plans", "/login"):
            await page.goto(site.url + path)
            assert await page.evaluate(TOO_WIDE) <= 0, path
            assert await page.evaluate(SMALL_TEXT) == [], path


@pytest.mark.parametrize("document", [worlds.serving(), worlds.many()], ids=["roomy", "dense"])
async def test_bands_meet_their_replicas(looking, site, document):
    document["routes"] = [one for one in document["routes"] if one["prefill"] != one["decode"]]
    site.source.document = document
    async with looking() as page:
        for width in (1280, PHONE):
            await page.set_viewport_size({"width": width, "height": 900})
            assert await page.locator("#topology .band").count() == len(document["routes"])
            assert await page.evaluate(MISSED) == []


async def test_five_hundred_replicas_are_as_quick_to_draw_and_to_read_as_a_few(looking, site):
    document = site.source.document = worlds.huge()
    document["routes"] = [one for one in document["routes"] if one["prefill"] != one["decode"]]
    async with looking() as page:
        assert await page.evaluate("document.querySelectorAll('*').length") < MOST_NODES
        assert await page.locator("#topology .replica").count() < 40
        assert "500 replicas" in await page.inner_text("#topology .find")
        assert "and 488 more" in await page.inner_text("#topology")
        assert await page.locator("#topology .looked tbody tr").count() == 12
        assert "failed: torch.OutOfMemoryError" in await page.inner_text("#topology .looked tbody tr:first-child")
        assert await page.locator("#alerts .notice").count() == 5
        await page.click("#more-alerts summary")
        assert "i190: the agent" in await page.inner_text("#more-alerts")
        assert await page.evaluate(MISSED) == []
        site.source.document["replicas"][0]["waiting"] = 99
        await page.wait_for_selector("#topology .looked >> text=+99")


async def test_any_of_them_is_found_and_what_is_found_stays_live(looking, site):
    site.source.document = worlds.huge()
    async with looking() as page:
        await page.fill("#only", "D101")
        await page.click("text=Find")
        await page.wait_for_selector("#live[data-state=live]")
        assert await page.locator("#topology .replica").count() == 3
        assert "i101" in await page.inner_text("#instances")
        found = next(one for one in site.source.document["replicas"] if one["id"] == "d101")
        found["waiting"] = 77
        await page.wait_for_selector("#topology .replica >> text=+77")
        assert await page.locator("#topology .replica").count() == 3
        await page.click("text=show all")
        await page.wait_for_selector("text=To look at first")


async def test_who_types_is_not_disturbed(looking, site):
    site.source.document = worlds.huge()
    async with looking() as page:
        await page.type("#only", "d1")
        site.source.document["replicas"][0]["waiting"] = 99
        site.source.happens("rebalance", "another epoch")
        await page.wait_for_selector("#events >> text=another epoch")
        assert await page.input_value("#only") == "d1"
        assert await page.evaluate("document.activeElement.id") == "only"


async def test_what_the_controller_thinks_of_the_routes_is_told(looking, site):
    site.source.document["controller"]["adapting"] = worlds.adapting()
    async with looking() as page:
        said = await page.inner_text("#promised .thought.waits")
        assert "94% over other routes (simulated). Not yet: the last change is too recent" in said


async def test_every_colour_of_text_stands_out_in_both_themes(looking):
    async with looking(wait=False) as page:
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            contrasts = await page.evaluate(CONTRASTS)
            assert {name: value for name, value in contrasts.items() if value < 4.5} == {}, scheme


async def test_the_theme_is_the_systems_until_one_is_chosen_and_that_is_kept(looking):
    ground = "getComputedStyle(document.body).backgroundColor"
    async with looking(color_scheme="light") as page:
        light = await page.evaluate(ground)
        await page.emulate_media(color_scheme="dark")
        dark = await page.evaluate(ground)
        assert light != dark
        await page.click("#theme")
        await page.click("#theme")
        assert await page.evaluate(ground) == light
        await page.reload()
        assert await page.evaluate(ground) == light


async def test_without_a_script_the_page_is_whole(looking):
    async with looking(java_script_enabled=False, wait=False) as page:
        assert await page.locator("#topology .replica").count() == 6
        assert await page.locator("#charts path.line[d^=M]").count() == 9
        assert await page.is_visible("text=reload for newer")
        assert not await page.is_visible("#theme")
        await page.click("text=Compare plans")
        assert await page.is_visible("#difference")


async def test_it_comes_back_when_the_controller_does(looking, tmp_path):
    again = Shown()
    again.document["epoch"] = 41
    async with AsyncExitStack() as first:
        api = await first.enter_async_context(served(tmp_path, Shown(), mounts=(mount,)))
        async with looking(api.url, expected=("ERR_",)) as page:
            await first.aclose()
            await page.wait_for_selector("#live[data-state=waiting]")
            async with served(tmp_path, again, mounts=(mount,), port=int(api.url.rpartition(":")[2])):
                await page.wait_for_selector("#live[data-state=live]")
                await page.wait_for_selector("#state dd >> text=41")


async def test_what_cannot_be_read_is_said_and_what_was_shown_stays(looking, site):
    async with looking(expected=("503",)) as page:
        site.source.down = "it is locked"
        await page.wait_for_selector("#problem >> text=it is locked")
        assert await page.is_visible("#topology .replica")
        site.source.down = ""
        await page.wait_for_selector("#problem", state="hidden")


async def test_what_did_not_get_there_is_asked_for_again(looking, site):
    async with looking(expected=("ERR_FAILED",)) as page:
        tries = []

        async def lose_the_first(route):
            tries.append(route)
            await (route.abort() if len(tries) == 1 else route.continue_())

        await page.route("**/sections*", lose_the_first)
        site.source.document["epoch"] = 42
        await page.wait_for_selector("#state dd >> text=42")
        assert len(tries) > 1


async def test_a_page_that_could_show_nothing_comes_by_itself(looking, site):
    site.source.down = "it is locked"
    async with looking(wait=False, expected=("503",)) as page:
        assert "it is locked" in await page.inner_text("[data-broken]")
        site.source.down = ""
        await page.wait_for_selector("#topology .replica")


async def test_who_reads_is_not_disturbed(looking, site):
    async with looking() as page:
        await page.click("#routes summary")
        await page.focus("#events ol")
        site.source.document["routes"][0]["share"] = 0.27
        site.source.happens("rebalance", "another share")
        await page.wait_for_selector("#routes td >> text=27%")
        await page.wait_for_selector("#events >> text=another share")
        assert await page.evaluate("document.querySelector('#routes').open")
        assert await page.evaluate("document.activeElement.className") == "events"


async def test_a_chart_is_read_with_the_pointer_and_with_the_keyboard(looking):
    async with looking() as page:
        await page.hover("#chart-ttft .plot")
        assert "p99" in await page.inner_text("#chart-ttft .reading")
        await page.mouse.move(0, 0)
        assert not await page.is_visible("#chart-ttft .reading")
        await page.focus("#chart-ttft .plot")
        await page.keyboard.press("ArrowLeft")
        first = await page.inner_text("#chart-ttft .reading")
        await page.keyboard.press("ArrowLeft")
        assert first != await page.inner_text("#chart-ttft .reading")


async def test_the_keyboard_comes_to_the_content_first(looking):
    async with looking() as page:
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "To the content"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
