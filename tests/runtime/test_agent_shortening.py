"""An engine's log does not fill its host's disk: it is moved aside while it is written, and followed over the cut."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from runtime.agent.engine_http import EngineHttp
from runtime.agent.engine_process import EngineProcess
from runtime.agent.shortening import CHUNK_BYTES, _keep, shorten
from tests.runtime.supervising import spec_of, supervisor_in, until_state
from thunderctl.logs.reading import look_script, pieces

MOST = 3000
LINES = 100
LINE = "line 000000\n"


class Follower:
    """Reads the engine's log as `thunderctl logs -f` does."""

    def __init__(self, folder: Path):
        self.folder, self.cursors, self.text = folder, {}, ""

    def look(self) -> str:
        script = look_script(("logs/*.log",), self.cursors, ends=0)
        done = subprocess.run(["/bin/sh", "-c", script], cwd=self.folder, capture_output=True, check=True)
        for piece in pieces(done.stdout):
            self.cursors[piece.path] = piece.cursor
            self.text += piece.data.decode()
        return self.text


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_engine_that_writes_much_keeps_two_files_of_bounded_size_and_is_followed(tmp_path: Path):
    log, kept, more = tmp_path / "logs/r0.log", tmp_path / "logs/r0.log.1", tmp_path / "run/more"
    supervisor, follower = supervisor_in(tmp_path, log_bytes=MOST), Follower(tmp_path)
    log.write_text("of an earlier run\n")
    supervisor.start(spec_of(behaviour="loud"))
    pid = (await until_state(supervisor, "ready")).pid
    try:
        for batch in range(1, 10):
            more.touch()
            await until(lambda: not more.exists() and log.stat().st_size <= MOST)
            assert kept.exists() == (batch > 2)
            last = LINE.replace("000000", f"{batch * LINES - 1:06}")
            await until(lambda last=last: follower.look().endswith(last))
        assert kept.stat().st_size <= MOST + LINES * len(LINE)
        assert supervisor.log("r0", LINES * 2 + 50).splitlines()[0] == f"line {9 * LINES - 250:06}"
        os.kill(pid, signal.SIGKILL)
        failed = await until_state(supervisor, "failed")
        assert failed.detail.endswith(last.strip())
    finally:
        await supervisor.stop_all()
    said = ["of an earlier run", "serving", *(f"line {number:06}" for number in range(9 * LINES))]
    assert follower.text.splitlines() == said


async def test_a_later_agent_knows_where_an_engines_lines_begin(tmp_path: Path):
    log, record = tmp_path / "logs/r0.log", tmp_path / "run/r0.pid.json"
    supervisor = supervisor_in(tmp_path, log_bytes=MOST)
    log.write_text("of an earlier run\n" * 160)
    supervisor.start(spec_of(behaviour="loud"))
    pid = (await until_state(supervisor, "ready")).pid
    (tmp_path / "run/more").touch()
    await until(lambda: json.loads(record.read_bytes())["log_start"] < 0)
    await supervisor.let_go()
    later = supervisor_in(tmp_path, log_bytes=MOST)
    try:
        later.adopt()
        os.kill(pid, signal.SIGKILL)
        failed = await until_state(later, "failed")
    finally:
        await later.stop_all()
        await supervisor.stop_all()
    assert "line 000099" in failed.detail
    assert "earlier run" not in failed.detail


async def test_a_log_that_can_not_be_moved_aside_is_said_now_and_then_and_its_engine_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    tried, looks, status = [], [], EngineHttp.status

    async def refused(process: EngineProcess, _most_bytes: int) -> bool:
        tried.append(process)
        raise PermissionError(13, "Permission denied")

    async def looked(http: EngineHttp) -> int | None:
        looks.append(http)
        return await status(http)

    monkeypatch.setattr(EngineProcess, "shorten_log", refused)
    monkeypatch.setattr(EngineHttp, "status", looked)
    supervisor = supervisor_in(tmp_path, log_bytes=MOST)
    supervisor.start(spec_of())
    try:
        pid = (await until_state(supervisor, "ready")).pid
        await until(lambda: tried)
        seen = len(looks)
        await until(lambda: len(looks) >= seen + 5)
        os.kill(pid, signal.SIGKILL)
        await until_state(supervisor, "failed")
    finally:
        await supervisor.stop_all()
    assert len(tried) == 1
    assert "can't be moved aside" in caplog.text


def test_of_a_log_that_grew_while_nobody_looked_the_end_is_kept(tmp_path: Path):
    log = tmp_path / "r0.log"
    log.write_bytes(b"a" * 5000 + b"b" * 200)
    assert shorten(log, 100) == 5200
    assert (tmp_path / "r0.log.1").read_bytes() == b"b" * 200
    assert log.read_bytes() == b""


def test_a_log_that_grows_as_fast_as_it_is_read_is_not_copied_for_ever(tmp_path: Path):
    kept = tmp_path / "kept"
    with Path("/dev/zero").open("rb", buffering=0) as endless:
        _keep(endless, kept, 4096)
    assert kept.stat().st_size <= 4096 + CHUNK_BYTES


def test_a_log_is_shortened_though_nothing_can_be_kept(tmp_path: Path):
    log = tmp_path / "r0.log"
    log.write_bytes(b"a" * 200)
    (tmp_path / "r0.log.1").mkdir()
    assert shorten(log, 100) == 0
    assert log.read_bytes() == b""
