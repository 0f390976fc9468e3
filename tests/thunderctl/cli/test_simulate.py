"""`thunderctl simulate` as a user meets it."""

import csv
import json
from pathlib import Path

import pytest

from thunderctl.cli.main import main

OFFERS = "provider,gpu,gpu_count,usd_per_hour,available\nvast,A6000,1,0.5,3\n"
TRACE = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i / 4},{500 + i},{20 + i % 7}\n" for i in range(80))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan of three replicas that do both phases, and a trace of 80 requests in 20 s."""
    made = tmp_path_factory.mktemp("simulate")
    (made / "offers.csv").write_text(OFFERS)
    (made / "trace.csv").write_text(TRACE)
    asked = [
        "plan",
        "--offers",
        "offers.csv",
        "--fixed",
        "--model",
        "llama-3.1-8b",
        "--budget",
        "2",
        "--out",
        "plan.json",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        with pytest.raises(SystemExit) as ended:
            main(asked)
    assert ended.value.code == 0
    return made


@pytest.fixture
def simulated(folder, monkeypatch, capsys):
    """Runs the command in that folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(folder)
    capsys.readouterr()

    def run(*flags: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["simulate", "plan.json", *flags])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


@pytest.fixture
def document(simulated):
    def run(*flags: str) -> dict:
        code, out, err = simulated(*flags, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return run


def test_a_trace_is_replayed_and_summed_up(document):
    found = document("--trace", "trace.csv")
    assert found["schema"] == "thunder.simulation/v1"
    assert (found["requests"], found["completed"], found["rejected"], found["lost"]) == (80, 80, 0, 0)
    assert [replica["id"] for replica in found["replicas"]] == ["r0", "r1", "r2"]
    assert all(0 < one["kv_peak_tokens"] <= one["kv_capacity_tokens"] for one in found["replicas"])
    assert (found["seed"], found["events"]) == (0, [])


def test_the_same_seed_gives_the_same_run_and_another_seed_other_arrivals(document):
    first, again, other = (document("--rate", "2", "--duration", "20", "--seed", seed) for seed in ("1", "1", "2"))
    assert first | {"wall_s": 0} == again | {"wall_s": 0}
    assert first["duration_s"] != other["duration_s"]


def test_the_table_says_what_happened(simulated):
    code, out, _ = simulated("--trace", "trace.csv", "--fail", "r1@5", "--then", "plan.json@10")
    assert code == 0
    assert "80 in" in out
    assert "r1 fails at 5 s" in out
    assert "epoch 2 at 10 s" in out


def test_every_request_is_a_row(simulated, tmp_path):
    target = tmp_path / "requests.csv"
    code, _, _ = simulated(
        "--trace", "trace.csv", "--fail", "r0@5", "--fail", "r1@6", "--fail", "r2@7", "--requests-out", str(target)
    )
    assert code == 0
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert [int(row["request"]) for row in rows] == list(range(80))
    done = [row for row in rows if row["outcome"] == "completed"]
    lost = [row for row in rows if row["outcome"] == "lost"]
    assert len(done) + len(lost) == 80
    assert len(done) > 10 < len(lost)
    assert all(float(row["arrival_s"]) < float(row["first_token_s"]) <= float(row["finish_s"]) for row in done)
    assert {row["decode"] for row in done} == {"r0", "r1", "r2"}
    assert {row["first_token_s"] for row in lost} == {""}
    assert rows[-1]["decode"] == ""


def test_rejected_requests_are_rows_too_and_counted_apart(simulated, document, tmp_path):
    trace, target = tmp_path / "long.csv", tmp_path / "requests.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,10\n1,90000,10\n2,200,20\n")
    found = document("--trace", str(trace), "--requests-out", str(target))
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert [row["outcome"] for row in rows] == ["completed", "rejected", "completed"]
    assert (rows[1]["prompt_tokens"], rows[1]["ttft_s"], rows[1]["decode"]) == ("90000", "", "")
    assert (found["requests"], found["rejected"]) == (2, 1)
    assert "2 in" in (out := simulated("--trace", str(trace))[1])
    assert "1 more rejected as too long" in out


def test_where_nothing_ended_there_are_no_latencies(simulated, document, tmp_path):
    trace = tmp_path / "long.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n1,90000,10\n")
    found = document("--trace", str(trace))
    assert (found["duration_s"], found["ttft_p50_s"], found["tpot_p99_s"], found["e2e_p50_s"]) == (
        0.0,
        None,
        None,
        None,
    )
    rows = [line.split() for line in simulated("--trace", str(trace))[1].splitlines()]
    assert all([name, "–"] in rows for name in ("attainment", "goodput", "sustains", "throughput", "TTFT", "TPOT"))


def test_a_run_says_whether_its_rate_is_sustained_at_the_target(simulated, document):
    asked = ("--duration", "30", "--rate")
    for rate, met, word in (("1", True, "yes"), ("300", False, "no")):
        found, (_, out, _) = document(*asked, rate), simulated(*asked, rate)
        assert found["meets_target"] is met
        assert found["goodput_rps"] == pytest.approx(found["slo_attainment"] * found["arrival_rate_rps"])
        (row,) = (line for line in out.splitlines() if line.strip().startswith("sustains"))
        assert f"{found['arrival_rate_rps']:.2f} requests/s at 90%: {word}" in row


def test_requests_can_be_written_to_stdout_alone(simulated):
    code, out, err = simulated("--trace", "trace.csv", "--requests-out", "-")
    assert (code, err) == (0, "")
    assert len(list(csv.DictReader(out.splitlines()))) == 80
    code, out, _ = simulated("--trace", "trace.csv", "--requests-out", "-", "--json")
    assert code == 2
    assert "both write to stdout" in json.loads(out)["error"]["message"]


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_run_says_whether_its_plan_is_calibrated(simulated, document, folder, calibrated):
    whole = (folder / "plan.json").read_text()
    plan = json.loads(whole)
    plan["predicted"]["calibrated"] = calibrated
    (folder / "plan.json").write_text(json.dumps(plan))
    try:
        assert document("--trace", "trace.csv")["calibrated"] is calibrated
        assert ("uncalibrated" in simulated("--trace", "trace.csv")[1]) is not calibrated
    finally:
        (folder / "plan.json").write_text(whole)


def test_bursts_and_prefix_hits_change_what_clients_see(document):
    played = "--rate", "6", "--duration", "60"
    plain, bursts, hits = (
        document(*played),
        document(*played, "--burstiness", "0.1"),
        document(*played, "--prefix-hits", "0.9"),
    )
    assert bursts["ttft_p99_s"] > plain["ttft_p99_s"] > hits["ttft_p99_s"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--then", "plan.json"], "--then is 'plan.json'; expected PLAN@SECONDS"),
        (["--then", "none.json@5"], "none.json can't be read"),
        (["--then", "plan.json@-5"], "expected PLAN@SECONDS"),
        (["--fail", "r0@soon"], "--fail is 'r0@soon'; expected REPLICA@SECONDS"),
        (["--fail", "r0@nan"], "expected REPLICA@SECONDS"),
        (["--fail", "r9@5"], "no replica 'r9'"),
        (["--fail", "r1@5", "--fail", "r1@9"], "r1 fails 2 times; expected once"),
        (["--rate", "nan"], "--rate is nan; expected requests/s above 0"),
        (["--rate", "0"], "--rate is 0; expected"),
        (["--prefix-hits", "1"], "--prefix-hits is 1; expected at least 0 and below 1"),
        (["--prefix-hits", "nan"], "--prefix-hits is nan; expected"),
        (["--burstiness", "0"], "--burstiness is 0; expected"),
        (["--burstiness", "inf"], "--burstiness is inf; expected"),
        (["--trace", "trace.csv", "--rate", "3"], "--rate was given beside --trace"),
        (["--trace", "trace.csv", "--burstiness", "2"], "--burstiness was given beside --trace"),
        (["--trace", "none.csv"], "none.csv can't be read"),
        (["--rate", "1e9"], "too many"),
        (["--requests-out", "none/requests.csv"], "none/requests.csv can't be written"),
        (["--plot", "none/run.png"], "none/run.png can't be written"),
    ],
)
def test_a_flag_that_makes_no_sense_is_one_clear_error(simulated, flags, said):
    code, out, err = simulated(*flags, "--duration", "5") if "--trace" not in flags else simulated(*flags)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.startswith("error: ")


def test_a_long_run_tells_how_far_it_is_on_a_terminal(simulated, monkeypatch):
    monkeypatch.setattr("thunderctl.cli.simulate.SHOWN", 1)
    assert simulated("--trace", "trace.csv")[2] == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "Simulating 80 requests" in simulated("--trace", "trace.csv")[2]


def test_nothing_is_written_but_what_was_asked_for(simulated, folder):
    before = sorted(path.name for path in folder.iterdir())
    assert simulated("--trace", "trace.csv")[0] == 0
    assert sorted(path.name for path in Path(folder).iterdir()) == before


def test_the_table_has_no_empty_head(simulated):
    _, shown, _ = simulated("--trace", "trace.csv")
    assert shown.splitlines()[1].startswith("requests")


def test_a_picture_that_could_not_be_written_is_said_before_the_run(simulated, monkeypatch):
    def played(*_, **__):
        raise AssertionError("the run came first")

    monkeypatch.setattr("thunderctl.cli.simulate._play", played)
    for flag, path in (("--plot", "missing/x.png"), ("--requests-out", "missing/x.csv"), ("--requests-out", ".")):
        code, _, err = simulated(flag, path)
        assert code == 2
        assert "can't be written" in err
