"""A deployment on rented machines: a fake Vast.ai whose containers really run, real engines, nothing left billing."""

import shutil
import tempfile
import time
from pathlib import Path

import openai
import pytest

from tests.operating import Operator, kv_bytes_received
from tests.provisioners.networks import Unavailable
from tests.provisioners.vast_containers import NamespaceContainers, namespace_containers
from tests.provisioners.vast_market import OWNER_KEY, VastMarket, bundle
from tests.provisioners.vast_server import serving
from thunderctl.hosts.engine_environment import engine_python

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

CARD = {"gpu_name": "CPU", "gpu_ram": 16384, "compute_cap": 750, "cpu_ram": 64_000}
"""So that the search finds it: what a card must have says nothing of a CPU, which our table knows."""
FREE = {"inet_up_cost": 0.0, "inet_down_cost": 0.0, "storage_cost": 0.0}
SPEC = f"""
model = {{ name = "tiny-llama" }}
engine = {{ max_model_len = 4096 }}
slo = {{ ttft_s = 10.0, tpot_s = 0.02 }}
kv = {{ codec = "int4" }}
budget = {{ usd_per_hour = 0.04 }}
serve = {{ listen = "127.0.0.1:0" }}
leases = {{ settle_s = 0, poll_s = 0.5 }}
[markets]
providers = ["vast"]
interruptible = "never"
[markets.vast]
engine_python = "{engine_python()}"
"""


@pytest.fixture
def home():
    """Short: sockets below a host's folder have names of 108 characters at most."""
    folder = Path(tempfile.mkdtemp(prefix="rented."))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def market(home):
    """Two machines on offer, and room for a third container."""
    try:
        with namespace_containers(home / "containers", 3) as containers:
            bundles = [bundle(n, usd=0.02, **CARD, **FREE) for n in (11, 12)]
            yield VastMarket(time.monotonic, bundles, containers=containers)
    except Unavailable as error:
        pytest.skip(f"no containers here: {error}")


@pytest.fixture
def operator(home, market):
    """With an account there; what they bring up is taken down in any case."""
    assert isinstance(market.containers, NamespaceContainers)
    (home / "thunder.toml").write_text(SPEC)
    with serving(market, market.containers.shared) as url:
        known = {"VAST_URL": url, "VAST_API_KEY": OWNER_KEY}
        user = Operator(home, state="home", **known)
        yield user
        user.end_all()


def test_a_day_on_rented_machines(operator, market):
    offers = operator.json("offers")["offers"]
    assert [offer["offer_id"].partition("-")[0] for offer in offers] == ["11", "12"]
    operator.run("up", "--yes")
    assert len(market.contracts) == 2
    leases = operator.json("leases")["leases"]
    assert sorted((lease["provider"], lease["state"]) for lease in leases) == [("vast", "ready")] * 2
    assert {lease["provider_id"] for lease in leases} == {str(number) for number in market.contracts}
    assert operator.json("offers")["offers"] == []

    status = operator.json("status")
    assert {replica["phase"] for replica in status["replicas"]} == {"prefill", "decode"}
    with openai.OpenAI(base_url=status["endpoint"], api_key="none", max_retries=0, timeout=120) as client:
        said = client.completions.create(model="tiny-llama", prompt="def read_lines(path):\n" * 40, max_tokens=8)
    assert said.usage.completion_tokens == 8
    assert kv_bytes_received(operator.json("status")) > 0

    operator.run("down", "--yes")
    assert not market.contracts
    assert operator.json("leases")["leases"] == []
    assert len(operator.json("offers")["offers"]) == 2
