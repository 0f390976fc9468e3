"""The Grafana dashboard in `examples/`: every series that it draws is one that router, agents or controller have."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from runtime.agent.metrics import agent_metrics
from runtime.messages import AgentHealth
from runtime.metrics import RouterMetrics
from tests.thunderctl.api.serving import Made
from thunderctl.api.metrics import deployment_metrics
from thunderctl.api.numbers import Numbers
from thunderctl.cli.main import app

DASHBOARD = json.loads((Path(__file__).parents[3] / "examples" / "grafana" / "thunderctl.json").read_text())
RULES = yaml.safe_load((Path(__file__).parents[3] / "examples" / "grafana" / "alerts.yml").read_text())
SERIES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
"""What a metric of a type is called in queries."""
COMMANDS = {one.name or one.callback.__name__ for one in app.registered_commands}
FULL = {
    "slo": {"ttft_s": 2.0, "tpot_s": 0.1, "attainment": 0.9},
    "ending": {"left_s": 60.0},
    "controller": {"last_tick_at": 1.0},
}


def families(text: bytes) -> set[str]:
    found = text_string_to_metric_families(text.decode())
    return {one.name + ending for one in found for ending in SERIES[one.type]}


def known() -> set[str]:
    status = Made().document | FULL
    status["links"] = [{**status["links"][0], "bytes": 10}]
    texts = (
        RouterMetrics().text(),
        agent_metrics(AgentHealth("i0", "1")),
        deployment_metrics(status),
        Numbers().text(),
    )
    return set().union(*map(families, texts))


def panels() -> list[dict]:
    return [one for one in DASHBOARD["panels"] if one["type"] != "row"]


def test_every_series_that_it_draws_is_one_that_there_is():
    drawn = {
        name for panel in panels() for target in panel["targets"] for name in re.findall(r"thunder_\w+", target["expr"])
    }
    assert drawn
    assert drawn <= known()


@pytest.mark.parametrize("rule", RULES["groups"][0]["rules"], ids=lambda rule: rule["alert"])
def test_every_alert_is_of_series_that_there_are_and_says_what_to_do(rule):
    used = set(re.findall(r"thunder_\w+", rule["expr"]))
    assert used
    assert used <= known()
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    commands = re.findall(r"`thunderctl (\w+)", rule["annotations"]["description"])
    assert commands or "[budget]" in rule["annotations"]["description"]
    assert set(commands) <= COMMANDS


def test_it_can_be_imported_whatever_the_source_is_called():
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= DASHBOARD.keys()
    assert 36 <= DASHBOARD["schemaVersion"] <= 42  # of Grafana 9 to 12
    assert {one["type"] for one in DASHBOARD["panels"]} <= {"row", "timeseries", "stat", "gauge", "table", "bargauge"}
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    assert {one["datasource"]["uid"] for one in panels()} == {"${datasource}"}
    assert len({one["id"] for one in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_no_panel_lies_over_another():
    taken = set()
    for one in DASHBOARD["panels"]:
        at = one["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, one["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_it_shows_what_is_promised():
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    for name in (
        *("thunder_spent_usd", "thunder_budget_usd_per_hour", "thunder_slo_attainment", "thunder_requests_total"),
        *("thunder_ttft_seconds_bucket", "thunder_tpot_seconds_bucket", "thunder_slo_seconds", "thunder_leases"),
        *("thunder_kv_moved_bytes", "thunder_replica_kv_usage", "thunder_alerts", "thunder_epoch"),
    ):
        assert name in shown
