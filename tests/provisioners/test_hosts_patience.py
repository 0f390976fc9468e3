"""How long an instance that is being prepared is waited for: as long as it gets on, within a limit. In virtual time."""

import asyncio
import subprocess
from dataclasses import dataclass
from itertools import pairwise

import pytest

from planner.errors import HostError, HostSilent
from provisioners.bootstrap import prepare
from provisioners.hosts.commands import Run, Send, carry_out
from provisioners.hosts.watching import Watch, amount
from provisioners.transport import Completed
from tests.provisioners.acted_host import ActedHost
from tests.virtual_time import VirtualLoop

STILL_S = 1200.0


@dataclass
class SlowHost(ActedHost):
    """Its download takes so long, and stands still after `stands_s`."""

    takes_s: float = 100.0
    stands_s: float = float("inf")
    looks_fail: bool = False
    _began: float = 0.0

    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"") -> Completed:
        now = asyncio.get_running_loop().time()
        if "du -sbc" in command:
            if self.looks_fail and int(now) % 3:
                raise HostError("the connection was reset")
            part = min(now - self._began, self.stands_s) / self.takes_s
            return Completed(0, f"{61 * part:.1f} of 61.0 GB\n{int(61e9 * part)}\n".encode(), b"")
        if "runtime.weights" in command:
            self._began = now
            await asyncio.sleep(self.takes_s if self.stands_s == float("inf") else 1e9)
        return await super().run(command, timeout_s=timeout_s, stdin=stdin)


def prepared(host: SlowHost, **limits: float) -> tuple[float, list[str]]:
    """How many seconds it took, and what was told."""
    told: list[str] = []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(prepare(host, host.wanted, narrate=told.append, still_s=STILL_S, **limits))
        return runner.get_loop().time(), told


@pytest.mark.parametrize("looks_fail", [False, True])
def test_one_that_gets_on_is_waited_for_however_long_it_takes(looks_fail):
    took_s, told = prepared(SlowHost(takes_s=5 * STILL_S, looks_fail=looks_fail))
    assert took_s == pytest.approx(5 * STILL_S, abs=10)
    assert any(text.startswith("download the model (61.0 GB): 30.") for text in told)


def test_one_on_which_nothing_moves_is_given_up_and_what_it_was_doing_is_said():
    host = SlowHost(takes_s=1000, stands_s=100)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        with pytest.raises(HostSilent, match=r"for 1200 s: it was to download .*: 6\.1 of 61\.0 GB\."):
            runner.run(prepare(host, host.wanted, still_s=STILL_S))
        assert runner.get_loop().time() == pytest.approx(100 + STILL_S, abs=10)


def test_one_that_is_several_times_slower_than_it_should_be_is_given_up():
    with pytest.raises(HostSilent, match=r"not prepared within 3000 s, .*: it was to download the model"):
        prepared(SlowHost(takes_s=5 * STILL_S), most_s=3000.0)


class Noting:
    """A transport whose commands take five seconds, but for the looks that are taken meanwhile."""

    def __init__(self):
        self.looks = 0

    async def run(self, command, *, timeout_s, stdin=b""):
        if "run/renewed" not in command:
            await asyncio.sleep(5.0)
            return Completed(0, b"", b"")
        self.looks += 1
        return Completed(0, f"\n{self.looks * 10**9}\n".encode(), b"")

    async def send(self, source, path):
        await asyncio.sleep(5.0)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Run("sha256sum", 10.0, "compare the model"), set()),
        (Send(lambda: __file__, "uploads/k/a", 61 * 10**9), {"1.0 of 61.0 GB", "2.0 of 61.0 GB"}),
        (Send(lambda: __file__, "uploads/uv"), {"1.0 GB", "2.0 GB"}),
    ],
    ids=["a command without progress", "a file of several", "a file"],
)
def test_whatever_takes_long_renews_the_machine_and_says_how_far_it_is(command, words):
    host, told, moves = Noting(), [], []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(carry_out(host, command, told.append, lambda: moves.append(1)))
    assert host.looks == 2
    assert {text.partition(": ")[2] for text in told[1:]} == words
    assert len(moves) == 3


def test_what_a_command_says_is_told_as_it_is_written(tmp_path):
    (tmp_path / "progress").write_text("unpacking c:\\new\\temp\n")
    watch = Watch("progress", (str(tmp_path / "progress"),), total=0)
    said = subprocess.run(["sh", "-c", watch.command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    line, _, size = said.partition("\n")
    assert watch.words(line, size.strip()) == "unpacking c:\\new\\temp, 0.0 MB"


def test_what_can_not_be_read_of_a_size_ends_no_look():
    assert Watch(grows=("a",), total=0).words("half", "of it\n12") == "half, 0.0 MB"


def test_what_is_made_here_is_not_counted_against_a_machine():
    async def slowly():
        await asyncio.sleep(7.0)
        return b"digests"

    host, moves = Noting(), []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        work = carry_out(
            host, Run("x", 10.0, "compare", stdin=slowly), moved=lambda: moves.append(runner.get_loop().time())
        )
        runner.run(work)
    assert max(later - earlier for earlier, later in pairwise(moves)) <= 4.0


def test_a_watch_quotes_what_it_looks_at():
    assert "'a b'" in Watch("a b").command
    assert "'/c d'" in Watch(grows=("/c d",)).command


@pytest.mark.parametrize(
    ("done", "total", "words"), [(3_100_000_000, 61_000_000_000, "3.1 of 61.0 GB"), (5_000_000, 0, "5.0 MB")]
)
def test_amounts_are_said_in_what_suits_the_larger(done, total, words):
    assert amount(done, total) == words
