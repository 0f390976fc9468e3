"""Changes: each is the command that it says, in a process of its own, one at a time, and written down."""

import asyncio

import pytest

from tests.thunderctl.api.serving import BEARER, served
from thunderctl.api.app import CHANGES


@pytest.fixture
async def api(tmp_path):
    async with served(tmp_path) as made:
        yield made


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Commands wait until this file is there."""
    path = tmp_path / "go on"
    monkeypatch.setenv("HOLD", str(path))
    return path


@pytest.mark.parametrize(
    ("action", "body", "words"),
    [
        ("rebalance", {}, ["rebalance", "--workload", "observed", "--yes", "--json"]),
        (
            "rebalance",
            {"workload": "coding", "rate_rps": 2.5, "without": ["i1", "r2"]},
            ["rebalance", "--workload", "coding", "--rate", "2.5", "--without=i1", "--without=r2", "--yes", "--json"],
        ),
        ("drain", {"instance": "i1"}, ["rebalance", "--workload", "observed", "--without=i1", "--yes", "--json"]),
        ("undrain", {"instance": "i1"}, ["undrain", "--workload", "observed", "--yes", "--json", "--", "i1"]),
        ("up", {"plan_id": "p1", "max_hours": 2}, ["up", "p1", "--max-hours", "2", "--yes", "--json"]),
        ("up", {}, ["up", "--yes", "--json"]),
        ("down", {}, ["down", "--yes", "--json"]),
    ],
)
async def test_a_change_is_the_command_that_it_says(api, action, body, words):
    job = await api.post(f"/api/v1/{action}", body, 202)
    ended = await api.ended(job)
    assert (ended["state"], ended["exit_code"]) == ("done", 0)
    assert ended["result"]["words"] == ["--deployment", "d", *words]
    assert ended["command"] == ["thunderctl", *words]
    assert ended["said"] == "begun\n"


@pytest.mark.parametrize("action", ["rebalance", "drain", "undrain", "up"])
async def test_a_dry_run_is_answered_at_once_and_is_no_change(api, action):
    body = {"dry_run": True} | ({"instance": "i0"} if action in ("drain", "undrain") else {})
    said = await api.post(f"/api/v1/{action}", body, 200)
    assert "--dry-run" in said["words"]
    assert "--yes" not in said["words"]
    assert api.source.told == []


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("rebalance", {"workload": "/etc/passwd"}),
        ("rebalance", {"workload": "--yes"}),
        ("rebalance", {"rate_rps": -1}),
        ("rebalance", {"rate_rps": "5"}),
        ("rebalance", {"unknown": 1}),
        ("rebalance", []),
        ("drain", {}),
        ("drain", {"instance": "--yes"}),
        ("drain", {"instance": "a b"}),
        ("up", {"plan_id": "../../plan.json"}),
        ("up", {"plan_id": "-x"}),
        ("down", {"dry_run": True}),
    ],
)
async def test_what_is_none_of_the_words_it_takes_reaches_no_command(api, action, body):
    said = (await api.post(f"/api/v1/{action}", body, 400))["error"]
    assert said["message"].startswith("The body can't be used: ")
    assert api.source.told == []


async def test_a_body_that_is_no_json_or_too_large_is_refused(api):
    async with api.http.post(f"{api.url}/api/v1/down", data="a=b", headers=BEARER) as response:
        assert response.status == 415
    json_said = {**BEARER, "Content-Type": "application/json"}
    async with api.http.post(f"{api.url}/api/v1/down", data=b"{" * 900, headers=json_said) as response:
        assert response.status == 400
    async with api.http.post(f"{api.url}/api/v1/down", data=b" " * 100_000, headers=json_said) as response:
        assert response.status == 413
        assert (await response.json())["error"]["kind"] == "RequestEntityTooLarge"


async def test_a_change_is_written_down_before_it_begins_and_when_it_has_ended(api):
    await api.ended(await api.post("/api/v1/rebalance", {}, 202))
    begun, ended = api.source.told
    assert begun["kind"] == "audit"
    assert begun["message"] == "operator (token) at 127.0.0.1: rebalance accepted"
    assert begun["detail"]["asked"] == {"dry_run": False, "workload": "observed", "without": []}
    assert ended["message"] == "operator (token) at 127.0.0.1: rebalance done"
    async with api.http.get(f"{api.url}/metrics") as response:
        assert 'thunder_audits_total{action="rebalance",outcome="done"} 1.0' in await response.text()


async def test_what_a_change_is_of_is_written_down(api):
    await api.ended(await api.post("/api/v1/drain", {"instance": "i1"}, 202))
    assert [one["message"].split(": ")[1] for one in api.source.told] == ["drain i1 accepted", "drain i1 done"]


async def test_a_change_that_can_not_be_begun_is_written_down_as_failed(api):
    api.app[CHANGES].jobs.launch = ("/nowhere/thunderctl",)
    said = (await api.post("/api/v1/up", {"plan_id": "p1"}, 502))["error"]["message"]
    accepted, failed = api.source.told
    assert accepted["message"].endswith("up p1 accepted")
    assert failed["message"] == f"operator (token) at 127.0.0.1: up p1 failed: {said}"


async def test_a_change_that_cannot_be_written_down_is_not_made(api):
    api.source.down = "its disk is full"
    said = (await api.post("/api/v1/down", {}, 503))["error"]["message"]
    assert "its disk is full" in said
    assert api.app[CHANGES].jobs.running is None


async def test_who_comes_second_is_told_of_the_first(api, hold):
    first = await api.post("/api/v1/up", {}, 202)
    said = (await api.post("/api/v1/down", {}, 409))["error"]["message"]
    assert said == f"`up` is under way (job {first['id']})."
    hold.touch()
    assert (await api.ended(first))["state"] == "done"
    assert (await api.ended(await api.post("/api/v1/down", {}, 202)))["state"] == "done"


async def test_two_at_the_same_moment_are_not_both_begun(api, hold):
    both = [api.http.post(f"{api.url}/api/v1/up", json={}, headers=BEARER) for _ in range(2)]
    answers = await asyncio.gather(*both)
    assert sorted(one.status for one in answers) == [202, 409]
    hold.touch()
    [begun] = [one for one in answers if one.status == 202]
    await api.ended(await begun.json())


async def test_a_command_that_holds_the_lock_is_named(api):
    api.source.works = "Deployment d is being changed by anna@lab (process 7) since noon: up."
    said = (await api.post("/api/v1/rebalance", {}, 409))["error"]["message"]
    assert said == api.source.works
    assert api.source.told[0]["detail"]["outcome"] == "refused"


async def test_what_a_command_refuses_is_said_as_it_said_it(api):
    ended = await api.ended(await api.post("/api/v1/up", {"plan_id": "nowhere"}, 202))
    assert (ended["state"], ended["exit_code"]) == ("failed", 2)
    assert ended["result"]["error"]["message"] == "no plan nowhere"
    assert api.source.told[-1]["message"].endswith("up nowhere failed: no plan nowhere")
    previewed = await api.post("/api/v1/up", {"plan_id": "nowhere", "dry_run": True}, 400)
    assert previewed["error"] == {"kind": "SpecError", "message": "no plan nowhere", "hint": "see history"}


async def test_a_command_asks_no_api_again(api, monkeypatch):
    monkeypatch.setenv("THUNDER_API_URL", api.url)
    assert (await api.ended(await api.post("/api/v1/down", {}, 202)))["result"]["api_url"] == ""


async def test_a_job_that_there_is_not_is_a_404_and_who_waits_for_one_is_told_soon(api, hold):
    await api.get("/api/v1/jobs/nothing", 404)
    job = await api.post("/api/v1/up", {}, 202)
    assert (await api.get(f"/api/v1/jobs/{job['id']}?wait_s=0.05"))["state"] == "running"
    waiting = asyncio.ensure_future(api.get(f"/api/v1/jobs/{job['id']}?wait_s=30"))
    hold.touch()
    assert (await waiting)["state"] == "done"
