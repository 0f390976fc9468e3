"""Calibrating real engines: what is measured and remembered, and that nothing is left running, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ENGINE_PYTHON = Path(os.environ.get("THUNDER_ENGINE_PYTHON", ROOT / ".venv-engine" / "bin" / "python"))
BLOCK_TOKENS = 128
SHORT = """
import json
from thunderctl.calibration.calibrate import calibrate
from thunderctl.calibration.record import save
from thunderctl.calibration.sweep import Sweep

short = Sweep(
    prompts=(32, 256, 1024),
    moved=(129, 513),
    steps=((1, 64), (4, 64), (8, 64), (1, 512)),
    answer_tokens=24,
    repeats=3,
    shared_tokens=24,
    shared_prompt=256,
)
record = calibrate(report=lambda _: None, narrate=lambda *_: None, say=lambda _: None, sweep=short, engines=2)
save(record)
print(json.dumps(record.to_json()))
"""


class Operator:
    """Runs Python in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = os.environ | {"THUNDER_HOME": str(home), "NO_COLOR": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-P", *arguments]
        return subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def json(self, *arguments: str) -> dict:
        process = self.start(*arguments)
        said, narrated = process.communicate(timeout=500)
        assert process.returncode == 0, narrated
        return json.loads(said)

    def processes(self) -> list[int]:
        """Agents and engines below this home."""
        return [process.pid for process in psutil.process_iter() if self._is_below(process)]

    def _is_below(self, process: psutil.Process) -> bool:
        try:
            return process.cwd().startswith(str(self.home)) and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def machines(self) -> list[Path]:
        return [path for path in (self.home / "local").glob("*") if path.is_dir()]


@pytest.fixture
def operator(tmp_path):
    if not ENGINE_PYTHON.exists():
        pytest.skip("no engine environment: make setup")
    user = Operator(tmp_path)
    yield user
    for pid in user.processes():
        psutil.Process(pid).kill()


@pytest.mark.alone
def test_what_is_measured_is_what_plans_then_use(operator):
    record = operator.json("-c", SHORT)
    assert operator.processes() == []
    assert operator.machines() == []

    reported, planned = record["kv_reported_tokens"], record["kv_planned_tokens"]
    assert planned - BLOCK_TOKENS < reported <= planned

    errors = sorted(abs(row["fitted_seconds"] / row["seconds"] - 1) for row in record["rows"])
    assert errors[len(errors) // 2] < 0.5
    assert {row["engines"] for row in record["rows"]} == {1, 2}
    assert record["handover"]["handover_ms"] > 0

    limits = ("--slo-ttft", "60", "--slo-tpot", "2")  # that the slowest host keeps: not its speed is tested here
    plan = operator.json("-m", "thunderctl", "plan", "--spec", "examples/local.toml", *limits, "--json")
    assert plan["predicted"]["calibrated"] is True
    assert plan["gpu_calibrations"]["CPU"]["gemm_share"] == record["gpu"]["gemm_share"]


def test_interrupted_it_takes_down_what_it_brought_up_and_remembers_nothing(operator):
    process = operator.start("-m", "thunderctl", "doctor", "--calibrate")
    deadline = time.monotonic() + 240
    while not any(path.exists() for machine in operator.machines() for path in machine.glob("run/r*.pid.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, narrated = process.communicate(timeout=240)
    assert process.returncode == 130, narrated
    assert operator.processes() == []
    assert operator.machines() == []
    assert not (operator.home / "calibration.json").exists()
