"""What may be read is what the source says, in the form that is described; what can't be read is said."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.thunderctl.api.serving import Made, served


@pytest.fixture
async def api(tmp_path):
    async with served(tmp_path) as made:
        yield made


async def test_status_is_the_document_of_the_command(api):
    assert await api.get("/api/v1/status") == api.source.document


async def test_a_store_that_is_down_is_a_503_with_its_cause_and_its_mend(api):
    api.source.down = "its disk is full"
    said = (await api.get("/api/v1/status", 503))["error"]
    assert (said["message"], said["hint"]) == ("The store can't be used: its disk is full.", "Mend it.")
    api.source.down = ""
    await api.get("/api/v1/status")


async def test_a_plan_that_there_is_not_is_a_404(api):
    assert (await api.get("/api/v1/plan"))["schema"] == "thunder.plan/v1"
    for named in ("nothing", "..%2F..%2Fstore.db", "%00", "a" * 200):
        assert "no plan" in (await api.get(f"/api/v1/plans/{named}", 404))["error"]["message"]


async def test_events_are_told_from_an_id_on(api):
    for number in range(5):
        api.source.happens("step", str(number))
    found = (await api.get("/api/v1/events?after=2&limit=2"))["events"]
    assert [one["id"] for one in found] == [3, 4]


@pytest.mark.parametrize(
    "query",
    ["limit=x", "limit=1001", "limit=-1", "limit=1.5", "since=nan", "after=9e99", "kind=a%00b", "kind=" + "a" * 99],
)
async def test_a_parameter_that_is_wrong_is_named(api, query):
    said = (await api.get(f"/api/v1/events?{query}", 400))["error"]["message"]
    assert query.split("=")[0] in said


async def test_what_is_not_there_is_refused_in_the_form_of_all_errors(api):
    assert (await api.get("/api/v1/nothing", 404))["error"]["kind"] == "NotFound"
    assert (await api.get("/api/v1/rebalance", 405))["error"]["kind"] == "MethodNotAllowed"


async def test_a_bug_is_said_and_the_server_goes_on(api, monkeypatch):
    async def broken():
        raise KeyError("x")

    monkeypatch.setattr(api.source, "leases", broken)
    assert (await api.get("/api/v1/leases", 500))["error"]["kind"] == "Bug"
    await api.get("/api/v1/status")


async def test_metrics_say_money_leases_replicas_and_what_the_api_counts(api):
    await api.get("/api/v1/status")
    async with api.http.get(f"{api.url}/metrics") as response:
        families = {one.name: one for one in text_string_to_metric_families(await response.text())}
    values = {
        (s.name, tuple(value for _, value in sorted(s.labels.items()))): s.value
        for one in families.values()
        for s in one.samples
    }
    assert values["thunder_spent_usd", ()] == 0.0123
    assert values["thunder_leases", ("ready",)] == 2
    assert values["thunder_agents", ("no",)] == 1
    assert values["thunder_replica_ready", ("decode", "r1")] == 0
    assert values["thunder_replica_running", ("prefill", "r0")] == 2
    assert values["thunder_kv_gbit_per_s", ("int4", "i0", "i1")] == 3.52
    assert values["thunder_observed_seconds", ("0.99", "ttft")] == 1.9
    assert ("thunder_observed_seconds", ("0.99", "tpot")) not in values, "nobody measured it"
    assert values["thunder_api_requests_total", ("/api/v1/status", "200")] == 1
    assert all(name.startswith("thunder_") for name in families)


async def test_series_are_the_last_points(tmp_path):
    source = Made()
    times = iter((1000.0, 1005.0, 1010.0, 1010.0))
    source.ring.now = lambda: next(times)
    for _ in range(3):
        source.ring.add(source.document)
    async with served(tmp_path, source) as api:
        points = (await api.get("/api/v1/series?seconds=7"))["points"]
    assert [one["at"] for one in points] == [1005.0, 1010.0]
    assert points[0] | {"at": 0} == {
        "at": 0,
        "rate_rps": 1.5,
        "ttft_p50_s": 0.31,
        "ttft_p99_s": 1.9,
        "tpot_p50_s": 0.02,
        "tpot_p99_s": None,
        "slo_attainment": 0.97,
        "running": 2,
        "waiting": 1,
        "kv_usage": 0.4,
        "usd_per_hour": 0.06,
        "spent_usd": 0.0123,
    }


async def test_every_answer_forbids_what_a_browser_might_do_with_it(api):
    for path in ("/api/v1/status", "/api/v1/live", "/nothing"):
        async with api.http.get(api.url + path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in response.headers
