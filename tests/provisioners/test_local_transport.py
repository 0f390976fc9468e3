"""Commands and files on a local machine."""

import asyncio
import os
import signal
import time

import pytest

from planner.errors import HostError
from provisioners.local import transport as module
from provisioners.local.transport import host_environment
from tests.provisioners.conftest import runs


@pytest.fixture
def transport(local, machine):
    return local.transport(machine)


async def test_a_command_runs_in_the_instances_folder_and_says_how_it_ended(local, machine, transport):
    done = await transport.run("pwd; echo problem >&2; exit 3", timeout_s=10)
    assert (done.code, done.stdout.decode().strip()) == (3, local.folder(machine))
    assert done.complaint == "problem"


async def test_a_command_reads_its_standard_input(transport):
    data = b"x" * 300_000
    assert (await transport.run("cat", timeout_s=10, stdin=data)).stdout == data
    assert (await transport.run("true", timeout_s=10, stdin=data)).code == 0


async def test_output_is_bounded(transport, monkeypatch):
    monkeypatch.setattr(module, "OUTPUT_LIMIT", 1000)
    done = await transport.run("head -c 300000 /dev/zero; echo end >&2", timeout_s=10)
    assert (done.code, len(done.stdout), done.stderr) == (0, 1000, b"end\n")


async def test_a_command_that_takes_too_long_is_killed_with_what_it_started(transport):
    begun = time.monotonic()
    with pytest.raises(HostError, match="did not end within"):
        await transport.run("sleep 60 & echo $! >child; wait", timeout_s=0.5)
    assert time.monotonic() - begun < 5
    await ends(int(await transport.get("child")))


async def test_a_cancelled_command_is_killed_with_what_it_started(transport):
    task = asyncio.create_task(transport.run("sleep 60 & echo $! >child; wait", timeout_s=60))
    while not (await transport.run("cat child 2>/dev/null", timeout_s=10)).stdout.strip():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ends(int(await transport.get("child")))


async def test_a_command_that_is_cancelled_while_it_starts_is_not_waited_for_for_ever(transport):
    for looks in range(8):  # asyncio connects its three pipes one after the other
        task = asyncio.create_task(transport.run("sleep 60", timeout_s=60))
        for _ in range(looks):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=20)
        assert done, f"cancelled after {looks} looks"


async def test_a_pipe_that_outlives_a_command_keeps_nobody_waiting(transport):
    with pytest.raises(HostError, match="did not end within"):
        async with asyncio.timeout(20):
            await transport.run("setsid sleep 60 & echo $! >child; wait", timeout_s=0.5)
    os.kill(int(await transport.get("child")), signal.SIGKILL)


async def test_files_are_put_whole_with_their_mode_and_got_back(transport):
    await transport.put("tls/tls.key", b"secret", 0o600)
    await transport.put("tls/tls.key", b"other", 0o640)
    assert await transport.get("tls/tls.key") == b"other"
    done = await transport.run("stat -c %a tls/tls.key; ls -A tls", timeout_s=10)
    assert done.stdout.split() == [b"640", b"tls.key"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/machine.json", "a/../../b", ""])
async def test_paths_stay_inside_the_instances_folder(transport, path):
    with pytest.raises(HostError, match="leaves the instance's folder"):
        await transport.get(path)
    with pytest.raises(HostError, match="leaves the instance's folder"):
        await transport.put(path, b"", 0o600)


async def test_a_file_that_is_absent_or_too_large_is_an_error(transport, monkeypatch):
    with pytest.raises(HostError, match="No such file"):
        await transport.get("nothing")
    monkeypatch.setattr(module, "FILE_LIMIT", 10)
    await transport.put("large", b"x" * 11, 0o600)
    with pytest.raises(HostError, match="larger than"):
        await transport.get("large")


async def test_a_machine_that_is_gone_says_so(local, machine, transport):
    await local.release(machine.provider_id)
    with pytest.raises(HostError, match="No command can be run"):
        await transport.run("true", timeout_s=10)


async def test_commands_see_no_credentials(local, machine, monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k")
    done = await local.transport(machine).run("env", timeout_s=10)
    seen = {line.split("=")[0] for line in done.stdout.decode().splitlines()}
    assert {"PATH", "THUNDER_LEASE_ID"} <= seen
    assert not {"VAST_API_KEY", "AWS_SECRET_ACCESS_KEY"} & seen


def test_only_what_engines_need_is_passed_on():
    names = ("PATH", "VLLM_CPU_KVCACHE_SPACE", "OMP_NUM_THREADS", "HF_HOME", "VLLM_API_KEY", "HF_TOKEN", "EDITOR")
    passed = host_environment(dict.fromkeys(names, "1"))
    assert set(passed) == {"PATH", "VLLM_CPU_KVCACHE_SPACE", "OMP_NUM_THREADS", "HF_HOME"}


async def ends(pid: int) -> None:
    for _ in range(100):
        if not runs(pid):
            return
        await asyncio.sleep(0.02)
    os.kill(pid, 9)
    raise AssertionError(f"process {pid} still runs")


async def test_a_file_or_a_folder_is_sent_whole_with_its_modes(transport, tmp_path):
    (tmp_path / "from" / "below").mkdir(parents=True)
    (tmp_path / "from" / "below" / "tool").write_text("tool")
    (tmp_path / "from" / "below" / "tool").chmod(0o750)
    await transport.send(tmp_path / "from", "to")
    await transport.send(tmp_path / "from" / "below" / "tool", "bin/tool")
    done = await transport.run("stat -c %a to/below/tool bin/tool; ls -A bin", timeout_s=10)
    assert done.stdout.split() == [b"750", b"750", b"tool"]
    with pytest.raises(HostError, match="can't be written: No such file"):
        await transport.send(tmp_path / "absent", "to")
    with pytest.raises(HostError, match="leaves the instance's folder"):
        await transport.send(tmp_path / "from", "../out")


async def test_of_commands_that_are_given_up_nobody_hears_from_asyncio(tmp_path, caplog):
    """Its waiter says so where somebody else has asked after the process before: a few times in a hundred."""
    transport = module.LocalTransport(tmp_path, {"PATH": "/bin:/usr/bin"})
    for number in range(150):
        running = asyncio.create_task(transport.run("sleep 60", timeout_s=60.0))
        await asyncio.sleep(0.004 + 0.0001 * (number % 30))  # each at another moment of its start
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert caplog.text == ""
