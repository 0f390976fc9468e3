"""`thunder.toml`: defaults, flags over it, and errors that name line, key and expectation."""

import re
import tomllib
from pathlib import Path

import pytest

from planner.errors import SpecError
from thunderctl.spec.inputs import read_workload
from thunderctl.spec.spec import Spec, load_spec, override_spec, parse_spec

ROOT = Path(__file__).parents[3]


def test_an_empty_spec_is_all_defaults():
    spec = parse_spec("")
    assert (spec.model.name, spec.budget.usd_per_hour, spec.slo.tpot_s) == ("qwen3-32b", 14.0, 0.15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[budget]\nusd_per_hour = "x"',
            r"^thunder.toml:2: \[budget\] usd_per_hour is 'x'; it should be a valid number",
        ),
        ("[budget]\nusd_per_hor = 3", r":2: \[budget\] usd_per_hor is not a key; did you mean usd_per_hour\?"),
        ("\n[budgett]\na = 1", r":2: \[budgett\] is not a key; did you mean budget\?"),
        ("engine.max_model_len = 1", r":1: \[engine\] max_model_len is 1; it should be greater than or equal to 2"),
        ("budget.usd_per_hour = -1", r":1: \[budget\] usd_per_hour is -1; it should be greater than or equal to 0"),
        ('[markets]\n# here\nproviders = ["vas"]', r":3: \[markets\] providers is 'vas'; it should be 'vast'"),
        (
            "[workload]\nburstiness = 0.0",
            r":2: \[workload\] burstiness is 0.0; it should be greater than or equal to 0.001",
        ),
        ("[workload]\nprefix_hit_share = 1.0", r":2: \[workload\] prefix_hit_share is 1.0; it should be less than 1"),
        ("[slo]\nttft_s = nan", r":2: \[slo\] ttft_s is nan; it should be a finite number"),
        ('[serve]\nlisten = "8000"', r":2: \[serve\] listen is '8000'; it should be HOST:PORT"),
        ('[ssh.hosts.a]\ngpu = "A6000"\ngpu_count = 1', r":1: \[ssh.hosts.a\] address is missing"),
        ("[model\n", r":1: not valid TOML"),
        ("budget = 3", r":1: \[budget\] is 3; it should be"),
    ],
)
def test_an_error_names_the_line_the_key_and_what_was_expected(text, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(text)


def test_a_file_that_is_not_there_is_an_error_and_none_is_all_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_spec() == Spec()
    with pytest.raises(SpecError, match=r"nowhere.toml can't be read: No such file"):
        load_spec(Path("nowhere.toml"))


def test_flags_go_over_the_file_and_are_checked_like_it():
    spec = parse_spec("[budget]\nusd_per_hour = 5\nmax_hours = 2")
    changed = override_spec(
        spec, {"--budget": {"budget": {"usd_per_hour": 7.0}}, "--rate": {"workload": {"rate_rps": None}}}
    )
    assert (changed.budget.usd_per_hour, changed.budget.max_hours, changed.workload.rate_rps) == (7.0, 2, None)
    with pytest.raises(SpecError, match="--budget is -1; it should be greater than or equal to 0"):
        override_spec(spec, {"--budget": {"budget": {"usd_per_hour": -1}}})


def test_the_workload_arrives_and_hits_the_cache_as_the_spec_says(tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n2,30,5\n")
    stream = "burstiness = 0.5\nprefix_hit_share = 0.25"
    for text in (f"[workload]\n{stream}", f'[workload]\ntrace = "{trace}"\n{stream}'):
        workload = read_workload(parse_spec(text))
        assert (workload.burstiness, workload.prefix_hit_share) == (0.5, 0.25)
    usual = read_workload(parse_spec("[workload]\nrate_rps = 3.0"))
    assert (usual.rate_rps, usual.burstiness, usual.prefix_hit_share) == (3.0, 1.0, 0.0)


@pytest.mark.parametrize("provider", ["local", "vast", "aws", "ssh"])
def test_what_init_writes_is_a_spec_with_the_defaults(provider):
    from jinja2 import Environment

    text = (ROOT / "templates" / "thunder.toml.j2").read_text()
    written = Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render(provider=provider)
    spec = parse_spec(written)
    assert spec.markets.providers == (provider,)
    if provider == "vast":
        # Uncommenting what is commented out keeps it a spec: the comments are true.
        assert parse_spec(re.sub(r"^# (\w+ = )", r"\1", written, flags=re.MULTILINE)).workload.rate_rps == 8.0
        given = tomllib.loads(written)
        assert all(
            getattr(getattr(Spec(), s), k) == getattr(getattr(spec, s), k)
            for s in given
            for k in given[s]
            if s != "markets"
        )


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_a_spec(path):
    load_spec(path)


WINDOW = """
[budget]
usd_per_hour = 14.0
windows = [{ from = "20:00", to = "07:00", tz = "Europe/Berlin", usd_per_hour = 4.0 }]
"""
NIGHT, DAY = 1_790_114_400.0, 1_790_078_400.0  # 2026-09-22 23:00 and 13:00 in Berlin


def test_a_budget_window_is_read_and_decides_by_the_clock():
    budget = parse_spec(WINDOW).budget
    assert [budget.gate_usd_per_hour(14.0, at) for at in (NIGHT, DAY)] == [4.0, 14.0]
    assert budget.gate_usd_per_hour(2.0, NIGHT) == 2.0  # a plan for less stays one for less


def test_a_spec_with_windows_is_stored_and_read_again():
    spec = parse_spec(WINDOW)
    assert Spec.model_validate(spec.model_dump(mode="json", exclude_unset=True)) == spec


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"20:00"', '"8 pm"', "is '8 pm'; it should be a time of day such as \"20:00\""),
        ('"20:00"', '"24:00"', "it should be a time of day"),
        ("Europe/Berlin", "Berlin", "is 'Berlin'; it should be a time zone such as Europe/Berlin or UTC"),
        ("Europe/Berlin", "../../etc/passwd", "it should be a time zone"),
        ('to = "07:00", ', "", r"\[budget.windows\] to is missing"),
        ('to = "07:00"', 'to = "20:00"', "it should end at another time than it begins"),
        ("usd_per_hour = 4.0", "usd_per_hour = -1", "greater than or equal to 0"),
        ("tz =", "zone =", r"\[budget.windows\] zone is not a key|tz is missing"),
    ],
)
def test_a_budget_window_that_makes_no_sense_names_its_key_and_line(before, after, said):
    with pytest.raises(SpecError, match=said) as caught:
        parse_spec(WINDOW.replace(before, after))
    assert caught.value.message.startswith("thunder.toml:4:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "deadman_s = 1200",
            "thunder.toml:2: .leases. deadman_s is 1200; it should be more than ready_deadline_s, which",
        ),
        ("ready_deadline_s = 7200", "deadman_s is 7200; it should be more than ready_deadline_s, which is 7200"),
        (
            "ready_deadline_s = 100\ndeadman_s = 299",
            "thunder.toml:3: .leases. deadman_s is 299; it should be 300 or more",
        ),
    ],
)
def test_a_switch_that_would_end_machines_which_are_looked_after_is_refused(text, said):
    with pytest.raises(SpecError, match=said):
        parse_spec(f"[leases]\n{text}")


def test_the_environments_times_of_leases_are_judged_together(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THUNDER_LEASES_READY_DEADLINE_S", "9000")
    with pytest.raises(SpecError, match="THUNDER_LEASES_DEADMAN_S is 7200; it should be more than ready_deadline_s"):
        load_spec()
    monkeypatch.setenv("THUNDER_LEASES_DEADMAN_S", "10000")
    assert load_spec().leases.deadman_s == 10_000
    monkeypatch.setenv("THUNDER_LEASES_READY_DEADLINE_S", "100")
    monkeypatch.setenv("THUNDER_LEASES_DEADMAN_S", "400")
    assert load_spec().leases.deadman_s == 400
