"""The model's files reach an instance: downloaded by it or sent to it, shared, gone on with, and never half."""

import asyncio
import hashlib
import shutil
import sys
import threading
import uuid
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import HostError, HostUnfit
from provisioners.base import Label, LeaseRequest
from provisioners.bootstrap import bootstrap, look
from provisioners.hosts.cards import Gpus
from provisioners.hosts.commands import Run, Send, carry_out
from provisioners.hosts.digests import contents_digest, digest_lines, files_below, sizes_digest
from provisioners.hosts.facts import Facts
from provisioners.hosts.model import model_commands
from provisioners.hosts.wanted import Download, Environment, HostSpec, Model, Upload
from provisioners.transport import Completed
from runtime.weights.job import Job, WeightFile
from tests.file_server import file_server
from tests.provisioners.conftest import lease_local
from tests.provisioners.fakes import OWNER
from tests.provisioners.host_worlds import host_spec
from tests.provisioners.sshd import ssh_hosts
from thunderctl.hosts.payload import build_payload

MODEL = Path(__file__).parents[2] / "examples" / "tiny-llama"
WEIGHTS = "model.safetensors"


@pytest.fixture
def server():
    with file_server(MODEL) as made:
        yield made


def downloaded(url: str) -> Model:
    """All files of the shipped model, from a mirror."""
    files = [(name, path.read_bytes()) for name, path in files_below(MODEL).items()]
    listed = [WeightFile(name, len(data), f"sha256:{hashlib.sha256(data).hexdigest()}") for name, data in files]
    job = Job(tuple((file, f"{url}/{file.name}") for file in listed))

    async def written() -> bytes:
        return job.to_bytes()

    return Model(key="KEY", source=Download(written), disk_gb=0.01)


def wanted_of(local, machine, model: Model) -> HostSpec:
    return host_spec(
        folder=local.folder(machine),
        environment=Environment(sys.executable),
        payload=build_payload().data,
        payload_digest=build_payload().digest,
        model=model,
        gpus=Gpus("CPU", 1),
    )


async def get_model(transport, wanted: HostSpec, told=lambda _: None) -> Facts:
    """Do what the model needs, and our code before it; the facts after."""
    facts = await look(transport, wanted)
    facts = replace(facts, given=replace(facts.given, vllm="0.32.0"))
    for command in bootstrap(facts, wanted):
        if "agent" not in command.why:
            await carry_out(transport, command, told)
    return await look(transport, wanted)


async def test_a_download_that_was_cut_off_is_gone_on_with_and_shared(local, server):
    first, second = [await lease_local(local) for _ in range(2)]
    server.cut_after = deque([3_000_000])
    told: list[str] = []
    model = downloaded(server.url)
    wanted = wanted_of(local, first, model)
    facts = await get_model(local.transport(first), wanted, told.append)
    assert (facts.weights, facts.model_link) == (True, f"{Path(wanted.folder).parent}/shared/models/KEY")
    assert not list(model_commands(facts, wanted))
    assert same_files(Path(wanted.folder) / "model")
    assert any(span for *_, span, _ in server.asked)

    asked = len(server.asked)
    await get_model(local.transport(second), wanted_of(local, second, model))
    assert len(server.asked) == asked
    assert same_files(Path(local.folder(second)) / "model")


async def test_a_download_says_how_far_it_is(local, machine, server, monkeypatch):
    monkeypatch.setattr("provisioners.hosts.watching.LOOK_EVERY_S", 0.05)
    server.gate = threading.Event()
    told: list[str] = []
    transport, wanted = local.transport(machine), wanted_of(local, machine, downloaded(server.url))
    task = asyncio.create_task(get_model(transport, wanted, told.append))
    async with asyncio.timeout(30):
        while not any(" of 10." in text for text in told):
            await asyncio.sleep(0.05)
        server.gate.set()
        await task
    assert any(text.startswith("download the model (0.0 GB): ") and text.endswith(" MB") for text in told)


async def test_nothing_of_a_download_that_fails_counts_and_no_address_is_on_the_disk(local, machine, server):
    server.statuses = deque([403] * 20)
    wanted = wanted_of(local, machine, downloaded(server.url))
    with pytest.raises(HostError, match=r"download the model .* failed .*HTTP 403"):
        await get_model(local.transport(machine), wanted)
    assert not (await look(local.transport(machine), wanted)).weights
    told = await local.transport(machine).run(f"grep -rl {server.url} . ../shared", timeout_s=20)
    assert told.stdout == b""


@pytest.fixture
def upload(tmp_path) -> Upload:
    shutil.copytree(MODEL, tmp_path / "sent", ignore=shutil.ignore_patterns("*.py", "README.md"))
    return Upload(tmp_path / "sent")


def sent(upload: Upload) -> Model:
    return Model("/not/there", sizes=sizes_digest(upload.files), key="SENT", source=upload, disk_gb=0.01)


async def test_a_folder_of_this_machine_is_sent_over_ssh_compared_and_shared(tmp_path, upload):
    with ssh_hosts(tmp_path, 1) as provisioner:
        machine = await lease_ssh(provisioner)
        transport, wanted = provisioner.transport(machine), wanted_of(provisioner, machine, sent(upload))
        facts = await get_model(transport, wanted)
        assert facts.weights
        assert files_of(Path(wanted.folder) / "model") == files_of(upload.folder)
        assert not (Path(wanted.folder) / "uploads" / "SENT").exists()
        await provisioner.release(machine.provider_id)
        again = await lease_ssh(provisioner)
        commands = list(model_commands(await look(provisioner.transport(again), wanted), wanted))
        assert [command.why.split()[0] for command in commands] == ["let"]
        await provisioner.release(again.provider_id)


async def test_what_no_engine_needs_is_not_sent_and_does_not_count(local, machine, upload):
    git = upload.folder / ".git" / "objects"
    git.mkdir(parents=True)
    (git / "pack").write_bytes(bytes(1000))
    (upload.folder / "README.md").write_text("read me")
    named = Upload(upload.folder, tuple(name for name in upload.files if name != "README.md"))
    transport, wanted = local.transport(machine), wanted_of(local, machine, sent(named))
    await get_model(transport, wanted)
    assert sorted(files_of(Path(wanted.folder) / "model")) == sorted(named.files)
    there = replace(wanted, model=Model(str(upload.folder), sizes=sizes_digest(upload.files)))
    assert there.model.is_at_path(await look(transport, there))


async def test_a_comparison_says_which_files_were_right_so_far(local, machine, upload):
    transport, wanted = local.transport(machine), wanted_of(local, machine, sent(upload))
    facts = Facts(uploaded={name: path.stat().st_size for name, path in upload.files.items()})
    compare, _ = model_commands(facts, wanted)
    assert isinstance(compare, Run)
    listen = f"mkdir -p run; mkfifo {compare.watch.said}; cat {compare.watch.said} </dev/null >seen 2>&1 &"
    await transport.run(f"mkdir -p uploads/SENT && cp {upload.folder}/* uploads/SENT; {listen}", timeout_s=10)
    await carry_out(transport, compare)
    said = (await transport.get("seen")).decode().splitlines()
    assert said == [f"./{name}: OK" for name in sorted(upload.files)]


async def test_what_arrived_damaged_is_thrown_away_and_sent_again(local, machine, upload):
    transport, wanted = local.transport(machine), wanted_of(local, machine, sent(upload))
    weights = (upload.folder / WEIGHTS).read_bytes()
    await transport.put(f"uploads/SENT/{WEIGHTS}", bytes(len(weights)), 0o600)
    with pytest.raises(HostError, match="compare the model that was sent failed"):
        await get_model(transport, wanted)
    facts = await get_model(transport, wanted)
    assert facts.weights
    assert files_of(Path(wanted.folder) / "model") == files_of(upload.folder)


async def test_a_link_that_led_elsewhere_is_led_anew(local, machine, tmp_path):
    wanted = wanted_of(local, machine, Model(str(MODEL)))
    transport = local.transport(machine)
    await transport.run(f"ln -s {tmp_path} model", timeout_s=10)
    assert (await get_model(transport, wanted)).model_link == str(MODEL)


def test_the_digests_of_here_are_those_of_the_probe(tmp_path):
    files = {"a": b"1", "b/c d": b"2", "ü": b"3"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert contents_digest(files) == contents_digest(files_below(tmp_path))
    lines = asyncio.run(digest_lines(files_below(tmp_path))).decode().splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["./a", "./b/c d", "./ü"]
    assert contents_digest({}) == ""


async def test_a_disk_that_runs_full_makes_the_machine_unfit():
    class Full:
        async def run(self, command, *, timeout_s, stdin=b""):
            return Completed(1, b"", b"error: model.safetensors can't be written: No space left on device.")

    with pytest.raises(HostUnfit, match="No space left"):
        await carry_out(Full(), Run("x", 1.0, "download the model"))


async def test_what_is_sent_may_be_made_first(local, machine, tmp_path):
    (tmp_path / "made").write_text("made")
    await carry_out(local.transport(machine), Send(lambda: tmp_path / "made", "sent/made"))
    assert await local.transport(machine).get("sent/made") == b"made"


async def lease_ssh(provisioner):
    return await provisioner.lease(LeaseRequest(Label(OWNER, "d", str(uuid.uuid4())), "host0", 0.02))


def same_files(folder: Path) -> bool:
    return files_of(folder) == files_of(MODEL)


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_below(folder).items()}
