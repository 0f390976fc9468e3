"""The agent's log does not fill its host's disk, and loses no line at the cut but those kept before."""

import subprocess
import sys

PROGRAM = """
import logging
from runtime.agent.own_log import OwnLog
logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[OwnLog(most_bytes=1000)])
for number in range(45):
    logging.info("line %04d %s", number, "x" * 90)
"""


def test_a_log_that_has_grown_is_moved_aside_while_it_is_written(tmp_path):
    log = tmp_path / "agent.log"
    with log.open("ab") as output:
        subprocess.run([sys.executable, "-P", "-c", PROGRAM], stderr=output, check=True)
    kept, now = ((tmp_path / name).read_text().splitlines() for name in ("agent.log.1", "agent.log"))
    numbers = [int(line.split()[1]) for line in [*kept, *now]]
    assert numbers == list(range(numbers[0], 45))
    assert len(kept) == 10
    assert "\0" not in log.read_text()


def test_where_it_is_no_file_nothing_is_cut(tmp_path):
    done = subprocess.run([sys.executable, "-P", "-c", PROGRAM], stderr=subprocess.PIPE, check=True, cwd=tmp_path)
    assert len(done.stderr.splitlines()) == 45
    assert list(tmp_path.iterdir()) == []
