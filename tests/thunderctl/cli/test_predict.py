"""`thunderctl predict`: rows in, the same rows with answers out."""

import csv
from io import StringIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from planner.errors import SpecError
from thunderctl.cli.main import app
from thunderctl.cli.predict import predict as predict_command

HEADER = "source,gpu,model,tp,pp,engine,phase,kind,batch,prompt_tokens,context_tokens,note,mine"
GOOD = "helix,A100-SXM4-40GB,llama-30b,1,1,vllm-0.4.0,prefill,layer,4,750,750,scope=full; split=assumed,kept"
GUESS = GOOD.replace("A100-SXM4-40GB", "A6000")
UNKNOWN = GOOD.replace("llama-30b", "llama-9000b")


def predict(folder: Path, text: str, *, target: str = "out.csv") -> str:
    (folder / "rows.csv").write_bytes(text.encode())
    where = target if target == "-" else str(folder / target)
    done = CliRunner().invoke(app, ["predict", "--input", str(folder / "rows.csv"), "--output", where])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout if target == "-" else (folder / target).read_text()


def test_every_row_comes_back_in_its_place_with_an_answer_or_a_reason(tmp_path):
    rows = list(csv.DictReader(StringIO(predict(tmp_path, "\n".join((HEADER, GOOD, UNKNOWN, GUESS))))))
    assert [(row["calibrated"], bool(row["predicted_ms"]), "llama-9000b" in row["reason"]) for row in rows] == [
        ("yes", True, False),
        ("", False, True),
        ("no", True, False),
    ]
    assert {(row["note"], row["mine"]) for row in rows} == {("scope=full; split=assumed", "kept")}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (GUESS, "A6000 has no measured rows"),
        (
            GOOD.replace(",layer,", ",step,").replace("vllm-0.4.0", "vllm").replace("=full", "=model"),
            "engine vllm has no measured rows",
        ),
        (GOOD.replace("llama-30b", "qwen3-30b-a3b"), "has experts"),
    ],
    ids=["GPU", "engine", "kind of model"],
)
def test_what_was_not_measured_of_a_row_is_said_and_nothing_else(tmp_path, row, says):
    (tmp_path / "rows.csv").write_text("\n".join((HEADER, GOOD, row, row)))
    done = CliRunner().invoke(app, ["predict", "--input", str(tmp_path / "rows.csv"), "--output", "-"])
    said = " ".join(done.stderr.split())
    assert "Predicted 3 of 3 rows; 2 are not calibrated (2: " in said
    assert said.count(" 2: ") + said.count("(2: ") == 1
    assert says in said


@pytest.mark.parametrize("odd", ["\ufeff{}", "{}\r\n"], ids=["byte order mark", "carriage return"])
def test_files_of_spreadsheets_are_read(tmp_path, odd):
    found = predict(tmp_path, odd.format("\n".join((HEADER, GOOD))))
    assert found == predict(tmp_path, "\n".join((HEADER, GOOD)))


def test_its_own_output_can_be_its_input(tmp_path):
    once = predict(tmp_path, "\n".join((HEADER, GOOD)))
    assert predict(tmp_path, once) == once


def test_the_answers_can_go_to_standard_output(tmp_path):
    assert predict(tmp_path, "\n".join((HEADER, GOOD)), target="-").startswith(HEADER)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpu,model\nA40,llama-30b", "no column source, tp"),
        ("", "no column source"),
        ("\n".join((HEADER + ",gpu", GOOD + ",T4")), "gpu more than once"),
        ("\n".join((HEADER, GOOD + ",more")), "line 2"),
        ("\n".join((HEADER, GOOD, "helix,A40")), "line 3"),
        ("\n".join((HEADER, '"' + GOOD * 3000)), "is no CSV"),
    ],
)
def test_a_file_of_another_shape_is_one_clear_error(tmp_path, text, says):
    with pytest.raises(SpecError, match=says):
        predict(tmp_path, text)
    assert not (tmp_path / "out.csv").exists()


def test_the_example_of_its_help_runs(monkeypatch):
    """As it stands there, in a clone."""
    monkeypatch.chdir(Path(__file__).parents[3])
    (example,) = [line for line in (predict_command.__doc__ or "").splitlines() if "Example: thunderctl " in line]
    done = CliRunner().invoke(app, example.split("thunderctl ")[1].split())
    rows = list(csv.DictReader(StringIO(done.stdout)))
    assert done.exit_code == 0
    assert [row["calibrated"] for row in rows].count("yes") >= 3
    assert {"yes", "no", ""} == {row["calibrated"] for row in rows}
