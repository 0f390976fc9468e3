"""A day of a deployment that lives on a host of one's own: a real SSH server, a real engine, nothing left anywhere."""

import shutil
import tempfile
from pathlib import Path

import openai
import psutil
import pytest

from tests.operating import Operator, until
from tests.provisioners.sshd import KNOWN_CODE, sshd
from thunderctl.hosts.engine_environment import PROJECT, engine_python

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1600)]

SPEC = """
model = {{ name = "{model}" }}
engine = {{ max_model_len = 2048 }}
slo = {{ ttft_s = 20.0, tpot_s = 1.0 }}
budget = {{ usd_per_hour = 0.04 }}
markets = {{ providers = ["ssh"] }}
serve = {{ listen = "127.0.0.1:0", stop_grace_s = 1 }}
controller = {{ where = "ssh:office", listen = "127.0.0.1:0" }}
[ssh.hosts]
office = {{ address = "{address}", key = "{key}", folder = "{home}/leased", gpu = "CPU", gpu_count = 1, \
engine_python = "{python}" }}
"""


@pytest.fixture
def home():
    """Short: sockets below a host's folder have names of 108 characters at most."""
    folder = Path(tempfile.mkdtemp(prefix="day."))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def office(home):
    with sshd(home / "office", environment=KNOWN_CODE) as server:
        yield server
        for process in those_of(home / "office") + those_of(home / "leased"):
            process.kill()


def those_of(folder: Path) -> list[psutil.Process]:
    """Processes on behalf of what lives there."""
    found = []
    for process in psutil.process_iter():
        try:
            named = [*process.cmdline(), process.cwd(), process.environ().get("THUNDER_HOME", "")]
            if any(word.startswith(str(folder)) for word in named) and "sshd" not in process.name():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def test_it_lives_there_while_this_machine_is_off_and_comes_home(office, home):
    model, key = PROJECT / "examples" / "tiny-llama", office.folder / "login"
    values = {"address": office.address, "key": key, "home": home, "model": model, "python": engine_python()}
    (home / "thunder.toml").write_text(SPEC.format(**values))
    user = Operator(home, state="home")
    user.run("up", "--yes")
    assert those_of(home / "home") == []

    status = user.json("status")
    assert status["state"] == "serving"
    assert status["controller"]["pid"] in {one.pid for one in those_of(home / "office")}
    with openai.OpenAI(base_url=status["endpoint"], api_key="none", max_retries=0, timeout=120) as client:
        said = client.completions.create(model=status["model"], prompt="def read_lines(path):", max_tokens=4)
    assert said.usage.completion_tokens == 4
    user.run("up", "--yes")  # nothing is left to do

    user.run("down", "--yes", "--home")
    until(lambda: not those_of(home / "office") + those_of(home / "leased"), seconds=60)
    assert [one["state"] for one in user.json("leases", "--all")["leases"]] == ["gone"]
    assert not (home / "leased" / "machine").exists()
