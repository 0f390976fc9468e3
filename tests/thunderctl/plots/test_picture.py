"""The picture as a file, and the command that writes it."""

import json
import os
import struct
import subprocess
import sys

import pytest

from planner.document import plan_to_json
from planner.errors import SpecError
from planner.replay import Mark
from planner.workload import Slo
from thunderctl.cli.main import main
from thunderctl.plots import simulation_figure

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ABOUT = {"workload": "conversation", "rate_rps": 3.0, "seed": 1}


def size_of(picture):
    """Width and height, from a PNG's first chunk."""
    assert picture[:8] == SIGNATURE
    return struct.unpack(">II", picture[16:24])


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


@pytest.fixture
def plan_file(plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_to_json(plan)))
    return path


def test_the_picture_is_a_png_that_a_screen_shows_whole(played, plan, tmp_path):
    simulation_figure(tmp_path / "out.png", played, Slo(), plan=plan, **ABOUT)
    width, height = size_of((tmp_path / "out.png").read_bytes())
    assert 1000 <= width <= 1600
    assert 700 <= height <= 1400


def test_the_same_run_makes_the_same_file(made, plan, tmp_path):
    run = made([0.1, 0.2], [0.1, 0.1])
    for name in ("once.png", "again.png"):
        simulation_figure(tmp_path / name, run, Slo(), plan=plan, **ABOUT)
    assert (tmp_path / "once.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_another_kind_of_picture_is_refused_and_a_missing_folder_is_named(made, plan, tmp_path):
    run = made([0.1], [0.1])
    with pytest.raises(SpecError, match=r"out.pdf is not a PNG; expected a name that ends in .png"):
        simulation_figure(tmp_path / "out.pdf", run, Slo(), plan=plan, **ABOUT)
    with pytest.raises(FileNotFoundError):
        simulation_figure(tmp_path / "nowhere" / "out.png", run, Slo(), plan=plan, **ABOUT)


def test_the_command_draws_what_it_simulated(plan_file, tmp_path, capsys):
    picture = tmp_path / "out.png"
    command("simulate", plan_file, "--rate", "2", "--duration", "20", "--plot", picture, "--json")
    assert json.loads(capsys.readouterr().out)["schema"] == "thunder.simulation/v1"
    assert size_of(picture.read_bytes())[0] > 1000


@pytest.mark.parametrize("moment", ["r0@1e9", "r0@500", "r0@20.5"])
def test_the_command_draws_runs_that_end_before_something_happens(plan_file, tmp_path, capfd, moment):
    picture = tmp_path / "out.png"
    command("simulate", plan_file, "--duration", "20", "--fail", moment, "--plot", picture, "--json")
    assert size_of(picture.read_bytes())[1] < 1400
    assert "Warning" not in capfd.readouterr().err


def test_a_warning_of_the_drawing_library_is_kept_from_the_user(made, plan, tmp_path, recwarn):
    run = made([0.1], [0.1], marks=(Mark(0.0, "a name of a glyph that no font has: \U000e0042"),))
    simulation_figure(tmp_path / "out.png", run, Slo(), plan=plan, **ABOUT)
    assert not recwarn.list


def test_the_command_draws_a_trace(plan_file, tmp_path):
    trace, picture = tmp_path / "t.csv", tmp_path / "out.png"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,5\n2,300,50\n")
    command("simulate", plan_file, "--trace", trace, "--plot", picture, "--json")
    assert picture.read_bytes().startswith(SIGNATURE)


def test_a_picture_that_cannot_be_is_one_clear_error(plan_file, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", str(plan_file), "--duration", "5", "--plot", str(tmp_path / "out.gif"), "--json"])
    assert ended.value.code == 2
    assert "is not a PNG" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_matplotlib_is_loaded_to_draw_and_not_else(plan_file, tmp_path):
    """And what it caches goes below THUNDER_HOME, not into the user's folders."""
    code = (
        "import os, sys\n"
        "from thunderctl.cli.main import main\n"
        "def run(*options):\n"
        f"    try: main(['simulate', {str(plan_file)!r}, '--duration', '5', '--json', *options])\n"
        "    except SystemExit: pass\n"
        "run()\n"
        "before = 'matplotlib' in sys.modules\n"
        "run('--plot', 'out.png')\n"
        "import matplotlib\n"
        "print(before, matplotlib.get_cachedir().startswith(os.environ['THUNDER_HOME']), file=sys.stderr)"
    )
    usual = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR"}
    python = [sys.executable, "-P", "-W", "error", "-c", code]
    done = subprocess.run(python, capture_output=True, text=True, check=True, cwd=tmp_path, env=usual)
    assert done.stderr.split() == ["False", "True"]
