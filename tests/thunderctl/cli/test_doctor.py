"""`thunderctl doctor` as a user meets it: a list, in one JSON document, and an exit code."""

import json
import socket

import pytest

from thunderctl.cli.main import main
from thunderctl.doctor import clock

NAMES = [
    *("python", "thunderctl", "spec", "engine environment", "calibration", "disk", "port", "ssh program"),
    *("store", "locks", "cut off work", "controllers", "clock", "agents"),
    *("credentials aws", "credentials runpod", "credentials vast", "leftovers"),
]


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """Runs it where nothing is set up and nobody answers: (exit code, stdout, stderr)."""
    for name in ("VAST_API_KEY", "RUNPOD_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(clock, "WHERE", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thunder.toml").write_text('[serve]\nlisten = "127.0.0.1:0"\n')

    def run(*flags):
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *flags])
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return run


def test_all_is_well_where_nothing_is_amiss(doctor):
    code, out, err = doctor("--json")
    document = json.loads(out)
    assert (code, err, document["schema"]) == (0, "", "thunder.doctor/v1")
    assert [check["name"] for check in document["checks"]] == NAMES
    assert all(check.keys() == {"name", "ok", "detail", "mend"} for check in document["checks"])


def test_what_is_wrong_ends_it_with_1_and_says_what_to_do(doctor, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "thunder.toml").write_text(f'[serve]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        code, out, _ = doctor()
    assert code == 1
    assert "✗   port" in out
    assert "is in use." in out
    assert "Stop what listens there" in out


def test_a_store_that_can_not_be_used_is_a_finding_and_the_rest_is_looked_at(doctor, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "store.db").write_text("no database at all")
    code, out, _ = doctor("--json")
    found = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 1
    assert not found["store"]["ok"]
    assert found["store"]["mend"]
    assert found["clock"]["ok"]
    assert "leftovers" not in found
