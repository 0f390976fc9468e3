"""What a host answers about its logs: their ends, then what was added, whatever became of the files meanwhile."""

import subprocess

import pytest

from planner.errors import HostError
from thunderctl.logs import reading
from thunderctl.logs.reading import look_script, pieces


class Host:
    """A folder with logs, and how far each was read."""

    def __init__(self, folder):
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.folder, self.cursors = folder, {}

    def write(self, name, text, mode="ab"):
        with (self.logs / name).open(mode) as file:
            file.write(text.encode())

    def look(self, *paths, ends=0):
        """Path → what came of it, in one look."""
        script = look_script(paths or ("logs/*.log",), self.cursors, ends=ends)
        done = subprocess.run(["/bin/sh", "-c", script], cwd=self.folder, capture_output=True, check=True)
        assert done.stderr == b""
        came = pieces(done.stdout)
        self.cursors |= {piece.path: piece.cursor for piece in came}
        return {piece.path.removeprefix("logs/"): piece.data.decode() for piece in came}

    def all_that_comes(self):
        """Looks until nothing is left."""
        whole = ""
        while came := self.look():
            whole += "".join(came.values())
        return whole


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def numbered(first, last):
    return "".join(f"line {number}\n" for number in range(first, last))


def test_where_there_is_no_log_nothing_comes(host):
    assert host.look(ends=5) == host.look("logs/r0.log", ends=5) == {}


def test_first_the_ends_then_what_is_added_and_logs_that_are_new_from_their_beginning(host):
    host.write("agent.log", numbered(0, 500))
    host.write("r 0.log", "only this")
    assert host.look(ends=2) == {"agent.log": "line 498\nline 499\n", "r 0.log": "only this"}
    assert host.look() == {}
    host.write("agent.log", "added\n")
    host.write("r1.log", "new\n")
    assert host.look() == {"agent.log": "added\n", "r1.log": "new\n"}


def test_only_what_is_named_is_read(host):
    host.write("agent.log", "a\n")
    host.write("r0.log", "b\n")
    assert host.look("logs/r0.log", ends=9) == {"r0.log": "b\n"}


def test_a_log_that_is_moved_aside_loses_no_line(host):
    """As agents do it: a copy under another name, and the file cut to nothing."""
    host.write("agent.log", numbered(0, 30))
    host.look(ends=1)
    host.write("agent.log", "before the cut\n")
    host.write("agent.log.1", (host.logs / "agent.log").read_text(), "wb")
    host.write("agent.log", "after\n", "wb")
    assert host.all_that_comes() == "before the cut\nafter\n"


def test_a_file_put_in_its_place_is_read_from_its_beginning(host):
    host.write("r0.log", numbered(0, 3))
    host.look(ends=1)
    host.write("r0.log", "last words\n")
    (host.logs / "r0.log").rename(host.logs / "r0.log.1")
    host.write("r0.log", numbered(100, 200))
    assert host.all_that_comes() == "last words\n" + numbered(100, 200)


def test_a_file_that_is_gone_is_read_from_its_beginning_when_it_is_back(host):
    host.write("r0.log", numbered(0, 3))
    host.look(ends=1)
    (host.logs / "r0.log").unlink()
    assert host.look() == {}
    host.write("other", "x")  # takes the inode
    host.write("r0.log", "again\n")
    assert host.all_that_comes() == "again\n"


@pytest.mark.parametrize("moved", [False, True])
def test_much_at_once_comes_in_pieces(host, moved, monkeypatch):
    monkeypatch.setattr(reading, "LOOK_BYTES", 100)
    host.write("r0.log", "0\n")
    host.look(ends=1)
    host.write("r0.log", numbered(0, 200))
    if moved:
        host.write("r0.log.1", (host.logs / "r0.log").read_text(), "wb")
        host.write("r0.log", "", "wb")
    first = host.look()["r0.log"]
    assert len(first) == 100
    host.write("r0.log", "after\n")
    assert first + host.all_that_comes() == numbered(0, 200) + "after\n"


@pytest.mark.parametrize("answer", [b"hello", b"more 1 2 !!! logs/a.log\n", b"else 1 2 YQ== logs/a.log\n", b"\xff\n"])
def test_an_answer_that_is_none_is_an_error(answer):
    with pytest.raises(HostError, match="can't be understood"):
        pieces(answer)
