"""What an instance of a plan shall have, from spec, lease and machine; and the files of a spec that engines need."""

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from planner.errors import HostError, HostUnfit, SpecError
from planner.requirements import CUDA_VERSION
from provisioners.base import Machine
from provisioners.hosts.wanted import CPU, CUDA
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.agent.config import AgentConfig
from tests.planner.plans import split_plan
from thunderctl.deploying.lifecycle import engine_specs
from thunderctl.hosts import hosts, locks
from thunderctl.hosts.hosts import AGENT_PORT, CREDENTIALS, check_hosts, host_spec, unreachable
from thunderctl.spec.engine_files import as_on_hosts, host_files
from thunderctl.spec.spec import Spec, parse_spec

MODEL = Path(__file__).parents[3] / "examples" / "tiny-llama"
MACHINE = Machine("m-1", "label", "running", 1.0, "10.0.0.5")


def plan_at(provider: str, gpu: str):
    """Two replicas on instances of one provider, with the shipped model."""
    plan = split_plan()
    instances = tuple(replace(one, provider=provider, gpu=gpu, gpu_memory_gib=47.4) for one in plan.instances)
    return replace(plan, instances=instances, llm=replace(plan.llm, repository=str(MODEL)))


def row(plan, provider: str) -> LeaseRow:
    known = ("o", "d", "plan", plan.instances[0].id, provider, "Earth", "offer", "label", 1.0)
    return LeaseRow("lease-1", *known, LeaseState.READY, 0.0, provider_id="m-1")


@pytest.fixture
def world(tmp_path):
    for name in CREDENTIALS:
        (tmp_path / name).write_bytes(name.encode())
    provisioner = SimpleNamespace(folder=lambda _: "/srv/thunder/machine")
    return SimpleNamespace(name="d", folder=tmp_path, provisioner=lambda _: provisioner, agent_tls=lambda _: tmp_path)


async def made(world, provider="vast", gpu="A6000", machine=MACHINE, spec=None):
    plan = plan_at(provider, gpu)
    return await host_spec(world, plan, spec or Spec(), row(plan, provider), machine)


def config_of(spec) -> AgentConfig:
    return AgentConfig.from_json(json.loads(spec.agent_config))


async def test_a_rented_host_gets_the_locked_environment_and_its_cards_are_those_of_the_offer(world):
    spec = await made(world)
    plan = plan_at("vast", "A6000")
    first = plan.instances[0]
    assert (spec.gpus.name, spec.gpus.count, spec.gpus.memory_gib) == ("A6000", first.gpu_count, 47.4)
    assert (spec.environment.device, spec.environment.vllm, spec.environment.given) == (CUDA, "0.32.0", "")
    assert spec.supervised_by_systemd
    assert (spec.folder, spec.name) == ("/srv/thunder/machine", "lease-1")
    assert spec.tls["tls.key"] == b"tls.key"
    assert spec.model.path == str(MODEL)


async def test_where_a_port_is_mapped_the_agent_listens_there_and_says_the_outer_one(world):
    spec = await made(world, machine=replace(MACHINE, ports={AGENT_PORT: 41007, 22: 41006}))
    config = config_of(spec)
    assert (config.host, config.port) == ("0.0.0.0", AGENT_PORT)
    assert (config.advertise_host, config.advertise_port) == ("10.0.0.5", 41007)
    assert spec.port == AGENT_PORT


async def test_elsewhere_it_takes_any_port_and_says_whether_it_can_be_dialled(world):
    config = config_of(await made(world, "ssh", "CPU", replace(MACHINE, dialled=False)))
    assert (config.port, config.advertise_port, config.dialled) == (0, 0, False)


async def test_on_this_host_an_agent_listens_for_nobody_else_and_is_no_unit(world):
    spec = await made(world, "local", "CPU", replace(MACHINE, address="127.0.0.1"))
    assert config_of(spec).host == "127.0.0.1"
    assert not spec.supervised_by_systemd
    assert spec.environment.lock == b""
    assert spec.environment.given == hosts.engine_python()


@pytest.mark.parametrize(("stated", "used"), [("/opt/engine/bin/python", "/opt/engine/bin/python"), ("", "here")])
async def test_a_host_of_ones_own_may_have_an_interpreter_or_one_at_the_same_path(world, stated, used, monkeypatch):
    monkeypatch.setattr(hosts, "engine_python", lambda: "here")
    spec = await made(world, "ssh", "CPU", replace(MACHINE, engine_python=stated))
    assert spec.environment.given == used
    assert (spec.environment.device, spec.environment.arguments) == (CPU, ("--torch-backend", "cpu"))


async def test_without_an_engine_environment_here_one_is_made_there(world, monkeypatch):
    def absent() -> str:
        raise SpecError("The engine environment's Python is not there.")

    monkeypatch.setattr(hosts, "engine_python", absent)
    monkeypatch.delenv("THUNDER_ENGINE_PYTHON", raising=False)
    assert (await made(world, "ssh", "CPU")).environment.given == ""
    check_hosts(plan_at("ssh", "CPU"), Spec())
    with pytest.raises(SpecError, match="is not there"):
        check_hosts(plan_at("local", "CPU"), Spec())


def test_an_agent_that_cant_be_reached_is_said_to_be_behind_a_closed_port():
    error = unreachable(replace(MACHINE, ports={AGENT_PORT: 41007}), HostError("no answer."))
    assert isinstance(error, HostUnfit)
    assert error.message == "The agent on 10.0.0.5 runs, and can't be reached from here: no answer."
    assert "port 41007 (its own 8443) closed by a firewall" in error.hint
    own = unreachable(MACHINE, HostError("no answer."))
    assert not isinstance(own, HostUnfit)
    assert "the port that it chose" in own.hint


@pytest.fixture
def with_files(tmp_path) -> Spec:
    """A spec with a chat template and an adapter."""
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    engine = f'chat_template = "{tmp_path}/chat.jinja"\nlora = {{ sql = "{adapter}" }}'
    return parse_spec(f"[engine]\n{engine}")


async def test_templates_and_adapters_reach_the_engines(world, with_files):
    spec = await made(world, spec=with_files)
    names = sorted(name.rpartition("-")[0] for name in spec.files)
    assert names == ["chat-template", "lora-sql", "lora-sql"]
    [engine, *_] = engine_specs(plan_at("vast", "A6000"), with_files).values()
    assert engine.chat_template.removeprefix("files/") in spec.files
    [module] = [argument for argument in engine.extra_args if argument.startswith("sql=")]
    folder = module.removeprefix("sql=files/")
    assert {f"{folder}/adapter_config.json", f"{folder}/adapter_model.safetensors"} <= set(spec.files)
    assert engine.model == spec.model.link


def test_another_content_is_another_name_so_that_engines_are_started_anew(with_files, tmp_path):
    before = as_on_hosts(with_files).engine
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"trained further")
    after = as_on_hosts(with_files).engine
    assert after.chat_template == before.chat_template
    assert after.lora != before.lora


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ('chat_template = "/absent.jinja"', "chat_template is '/absent.jinja'; expected a file"),
        ('lora = { sql = "/absent" }', r"lora\.sql is '/absent'; expected a folder with adapter_config\.json"),
        ('lora = { "a/b" = "/absent" }', r"lora names an adapter 'a/b'; expected a name without slashes"),
    ],
)
def test_files_that_are_not_there_are_refused_before_anything_is_leased(engine, words):
    with pytest.raises(SpecError, match=words):
        check_hosts(plan_at("vast", "A6000"), parse_spec(f"[engine]\n{engine}"))


def test_a_spec_without_files_is_the_same_on_hosts():
    assert as_on_hosts(Spec()) == Spec()
    assert host_files(Spec()) == {}


@pytest.mark.parametrize("name", ["engine.txt", "engine-cuda.txt"])
def test_the_locks_pin_the_same_vllm_with_hashes(name):
    lock = locks.lock_text(name)
    assert locks.vllm_version(lock) == "0.32.0"
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line and line.endswith("\\") for line in pins)
    assert "://" not in lock


def test_the_cuda_lock_is_for_the_cuda_that_hosts_are_asked_for():
    lock = locks.lock_text("engine-cuda.txt")
    [toolkit] = [line for line in lock.splitlines() if line.startswith("cuda-toolkit==")]
    assert toolkit.removeprefix("cuda-toolkit==").startswith(f"{CUDA_VERSION}.")


def test_this_environments_uv_is_the_pinned_one():
    said = subprocess.run([locks.uv_for_hosts(), "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[1] == locks.uv_version()


def test_elsewhere_uv_comes_from_its_pinned_wheel(tmp_path, monkeypatch):
    """As on a laptop that is no Linux: pip gets the wheel for hosts, from a folder here."""
    wheel = tmp_path / "wheels" / "uv-1.2.3-py3-none-manylinux_2_17_x86_64.whl"
    wheel.parent.mkdir()
    write_uv_wheel(wheel)
    monkeypatch.setattr(locks.platform, "system", lambda: "Darwin")
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setattr(locks, "lock_text", lambda _: f"uv==1.2.3 --hash=sha256:{sha256(wheel)}\n")
    found = locks.uv_for_hosts()
    assert subprocess.run([found], capture_output=True, text=True, check=True).stdout == "a uv\n"
    assert found.is_relative_to(tmp_path / "home")

    monkeypatch.setattr(locks, "lock_text", lambda _: f"uv==9.9.9 --hash=sha256:{sha256(wheel)}\n")
    with pytest.raises(HostError, match="uv can't be downloaded"):
        locks.uv_for_hosts()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_uv_wheel(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("uv-1.2.3.data/scripts/uv", "#!/bin/sh\necho a uv\n")
        wheel.writestr("uv-1.2.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1.2.3\n")
        wheel.writestr("uv-1.2.3.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-manylinux_2_17_x86_64\n")
        wheel.writestr("uv-1.2.3.dist-info/RECORD", "")
