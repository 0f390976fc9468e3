"""The dead-man's switch as a machine runs it: the real script under sh, on a Vast.ai that can be asked to destroy it.

Its `sleep` takes no time: what happens at each look is a line of a script of its own.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from provisioners.vast.terms import Terms, onstart_script
from tests.provisioners.vast_market import Contract, VastMarket, bundle
from tests.provisioners.vast_world import DEADMAN, ONSTART, rented_hosts, vast_world

KEY = "ssh-ed25519 AAAAC3Nz thunder's own"
LOOK_S = 60


@dataclass
class Container:
    """`home` is that of root; `at_look[n]` is what is done before the n-th look of its life, in its run/ folder."""

    home: Path
    market: VastMarket
    url: str
    contract: Contract = field(init=False)
    at_look: dict[int, str] = field(default_factory=dict)
    looks: int = 0

    def __post_init__(self) -> None:
        self.contract = self.market.rent(bundle(11), {"disk": 10, "label": "ours", "env": {}})

    @property
    def run_folder(self) -> Path:
        return self.home / "thunder" / "run"

    @property
    def alive(self) -> bool:
        return self.contract.contract_id in self.market.contracts

    def boot(self, looks: int, *, deadman_s: float = 300, lifetime_s: float = 36_000) -> None:
        """Run the script until it has looked so many times, or the switch ends by itself."""
        tools = self.home / "bin"
        tools.mkdir(exist_ok=True)
        cases = "".join(f"{look}) {command} ;;\n" for look, command in self.at_look.items())
        _program(
            tools / "sleep",
            f"cd {self.run_folder} || exit 1\necho >>{self.home}/looks\nn=$(wc -l <{self.home}/looks)\n"
            f"case $n in\n{cases}esac\n[ $n -le {self.looks + looks} ] || kill -9 0\n",  # 0: all that boot started
        )
        _program(tools / "setsid", 'shift\nexec "$@"\n')  # so that the test can wait for it
        terms = Terms(
            ONSTART,
            DEADMAN,
            rented_hosts(Path("known"), KEY),
            deadman_s=deadman_s,
            folder=str(self.home / "thunder"),
            url=self.url,
        )
        script = onstart_script(terms, lifetime_s).replace("2>&1 &", "2>&1")
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "CONTAINER_ID": str(self.contract.contract_id),
            "CONTAINER_API_KEY": self.contract.key,
        }
        subprocess.run(["/bin/sh", "-c", script], env=environment, check=False, timeout=60, start_new_session=True)
        self.looks = len((self.home / "looks").read_text().splitlines())

    def said(self) -> str:
        return (self.run_folder / "deadman.log").read_text()


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


@pytest.fixture
def container(tmp_path):
    with vast_world() as world:
        yield Container(tmp_path, world.market, world.url)


def renewed(looks: range, step: str = "touch -d @$n renewed") -> dict[int, str]:
    return dict.fromkeys(looks, step)


def test_a_machine_that_nobody_speaks_to_ends_itself_and_no_other(container):
    other = container.market.put_foreign()
    container.at_look = renewed(range(1, 11))
    container.boot(30)
    assert list(container.market.contracts) == [other]
    assert len(container.market.asked) == 16  # five looks after the tenth, and each one after that tries again
    assert "nobody has spoken to this machine for 300 s" in container.said()
    assert (container.home / ".ssh" / "authorized_keys").read_text().strip() == KEY


def test_a_machine_that_is_spoken_to_lives_on(container):
    container.at_look = renewed(range(1, 100))
    container.boot(50)
    assert container.alive
    assert not container.market.asked


@pytest.mark.parametrize("hours", [-100_000, 100_000])
def test_a_clock_that_is_set_neither_kills_nor_saves(container, hours):
    """What counts is that the file's time changed, not what it is."""
    container.at_look = renewed(range(1, 20), f"touch -d @$((1700000000 + {hours} * 3600 * (n % 2))) renewed")
    container.boot(19)
    assert container.alive
    container.boot(20)
    assert not container.alive


def test_a_machine_ends_with_its_lease_however_much_is_spoken_to_it(container):
    container.at_look = renewed(range(1, 100))
    container.boot(9, lifetime_s=600)
    assert container.alive
    container.boot(20, lifetime_s=600)  # restarted: the first look of this life is the tenth
    assert not container.alive
    assert "has lived 600 s of 600 s" in container.said()


def test_a_lease_that_is_renewed_moves_the_end_and_nonsense_does_not(container):
    container.at_look = renewed(range(1, 100))
    container.at_look[5] += "; echo 1200 >ends_after_s"
    container.at_look[8] += "; echo soon >ends_after_s"
    container.at_look[9] += "; echo 01500 >ends_after_s"
    container.boot(24, lifetime_s=540)
    assert container.alive
    container.boot(1, lifetime_s=540)
    assert not container.alive


def test_a_refusal_is_asked_again_at_the_next_look(container):
    container.market.spoil("destroy", "429", "500")
    container.market.limited = False
    container.boot(10)
    assert not container.alive
    assert [method for method, _, _ in container.market.asked].count("DELETE") >= 3


def test_a_switch_that_can_not_wait_for_once_is_started_again(container):
    container.at_look = renewed(range(1, 8)) | {4: "exit 1"}
    container.boot(30)
    assert not container.alive
    assert "to be started again" in container.said()


@pytest.mark.parametrize("tool", ["echo 'flock: not found' >&2; exit 127\n", "exit 71\n"])
def test_a_machine_without_a_flock_that_works_has_its_switch_all_the_same(container, tool):
    (container.home / "bin").mkdir()
    _program(container.home / "bin" / "flock", tool)
    container.boot(30)
    assert not container.alive


def test_a_second_switch_on_the_same_machine_goes_away(container):
    container.run_folder.mkdir(parents=True)
    holding = subprocess.Popen(["flock", str(container.run_folder / "deadman.lock"), "cat"], stdin=subprocess.PIPE)
    try:
        while (
            subprocess.run(["flock", "-n", str(container.run_folder / "deadman.lock"), "true"], check=False).returncode
            == 0
        ):
            assert holding.poll() is None
        (container.home / "looks").touch()
        container.boot(10)
        assert container.looks == 0
    finally:
        holding.communicate()
