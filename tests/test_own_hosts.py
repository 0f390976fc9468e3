"""A deployment on machines of one's own: two hosts over real SSH, real engines, and nothing left on either."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import openai
import psutil
import pytest

from provisioners.local.processes import LEASE_VARIABLE
from tests.operating import Operator, kv_bytes_received
from tests.provisioners.networks import Network, Unavailable, networks
from tests.provisioners.sshd import KNOWN_CODE, LOOPBACK, sshd
from thunderctl.hosts.engine_environment import engine_python

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SPEC = """
model = {{ name = "tiny-llama" }}
engine = {{ max_model_len = 4096, chat_template = "{home}/chat.jinja" }}
slo = {{ ttft_s = 10.0, tpot_s = 0.02 }}
kv = {{ codec = "int4" }}
budget = {{ usd_per_hour = 0.04 }}
markets = {{ providers = ["ssh"] }}
serve = {{ listen = "127.0.0.1:0" }}
[ssh.hosts]
one = {{ address = "{one.address}", folder = "{home}/one", key = "{one.folder}/login", {same} }}
two = {{ address = "{two.address}", folder = "{home}/two", key = "{two.folder}/login", {same}, {python} }}
"""
SAME = 'gpu = "CPU", gpu_count = 1, usd_per_hour = 0.02'


@pytest.fixture
def home():
    """Short: sockets below a host's folder have names of 108 characters at most."""
    folder = Path(tempfile.mkdtemp(prefix="own."))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def operator(home):
    """With a spec that has two hosts; what they bring up is taken down in any case."""
    with ExitStack() as stack:
        places = both_networks(stack)
        one, two = (
            stack.enter_context(sshd(home / f"sshd{i}", network=place, environment=KNOWN_CODE))
            for i, place in enumerate(places)
        )
        python = f'engine_python = "{engine_python()}"'
        (home / "chat.jinja").write_text("def read_lines(path):{# Whatever is said, this is asked. #}")
        (home / "thunder.toml").write_text(SPEC.format(one=one, two=two, home=home, same=SAME, python=python))

        user = Operator(home, state="home")
        yield user
        user.end_all()


def test_a_day_on_two_hosts_of_ones_own(operator, home):
    offers = operator.json("offers")["offers"]
    assert [(offer["offer_id"], offer["provider"], offer["usd_per_hour"]) for offer in offers] == [
        ("one", "ssh", 0.02),
        ("two", "ssh", 0.02),
    ]
    operator.run("up", "--yes")
    leases = operator.json("leases")["leases"]
    assert sorted((lease["provider"], lease["state"]) for lease in leases) == [("ssh", "ready")] * 2
    assert operator.json("offers")["offers"] == []

    status = operator.json("status")
    assert {replica["phase"] for replica in status["replicas"]} == {"prefill", "decode"}
    with openai.OpenAI(base_url=status["endpoint"], api_key="none", max_retries=0, timeout=120) as client:
        said = client.completions.create(model="tiny-llama", prompt="def read_lines(path):\n" * 40, max_tokens=8)
        words = ("one", "a word " * 50)
        chats = [
            client.chat.completions.create(
                model="tiny-llama", messages=[{"role": "user", "content": text}], max_tokens=2
            )
            for text in words
        ]
    assert said.usage.completion_tokens == 8
    assert len({chat.usage.prompt_tokens for chat in chats}) == 1  # the template is ours
    assert kv_bytes_received(operator.json("status")) > 0
    assert len(processes_of(leases)) >= 4

    operator.run("down", "--yes")
    assert processes_of(leases) == []
    assert [list((home / name).iterdir()) for name in ("one", "two")] == [[], []]
    assert len(operator.json("offers")["offers"]) == 2


def both_networks(stack: ExitStack) -> list[Network]:
    """One a host, as machines have; where they can't be made, loopback for both."""
    try:
        return stack.enter_context(networks(2))
    except Unavailable:
        return [LOOPBACK] * 2


def processes_of(leases: list[dict]) -> list[psutil.Process]:
    ids = {lease["id"] for lease in leases}
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(LEASE_VARIABLE) in ids:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
