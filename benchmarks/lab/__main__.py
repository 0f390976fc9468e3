"""Unlike hosts with real networks on this machine: deploy, load, shift, break, and see what is left. Root's to run.

.venv/bin/python -m benchmarks.lab [--only ROW]... [--rounds N] [--json]

Writes `benchmarks/results/lab.md`. Everything it starts lies in a folder of its own and is gone at the end, on Ctrl-C
too. Exit code 1: a row did not come about, or something was left behind. Where this machine can have no such hosts it
says why, and that is all.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.lab import failing, leavings, predicted, shifting, splits
from benchmarks.lab.deployment import Deployment
from benchmarks.lab.hosts import Host, hosts
from benchmarks.lab.lab import Lab, Row
from benchmarks.lab.report import TARGET, write
from tests.provisioners.networks import Unavailable
from tests.provisioners.sshd import SSHD

ROWS: Mapping[int, tuple[str, Callable[[Lab], Row]]] = {
    1: (predicted.TITLE, predicted.measured_against_predicted),
    2: (splits.TITLE, splits.split_against_colocated),
    3: (shifting.TITLE, shifting.shifted),
    4: (failing.TITLE, failing.outlived),
}
ORDER = [*(title for title, _ in ROWS.values()), leavings.TITLE]


def main() -> None:
    asked = _arguments()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {text}", file=sys.stderr, flush=True)

    folder = Path(tempfile.mkdtemp(prefix="lab."))  # short: sockets below it have names of 108 characters at most
    try:
        made, rows, whole = run(folder, asked.only, asked.rounds, say)
    except Unavailable as reason:
        print(f"Skipped: no lab can be made here: {reason}.", file=sys.stderr)
        sys.exit(0)
    except KeyboardInterrupt:
        say("interrupted: all of it was taken down")
        sys.exit(130)
    finally:
        shutil.rmtree(folder)
    write(rows, made, time.monotonic() - began, ORDER)
    say(f"wrote {TARGET}")
    if asked.json:
        print(json.dumps({row.title: row.found for row in rows}, indent=1))
    sys.exit(0 if whole else 1)


def run(
    folder: Path, only: Sequence[int], rounds: int, say: Callable[[str], None]
) -> tuple[list[Host], list[Row], bool]:
    """The hosts as they were, the rows in order, and whether all came about and nothing is left. Raises Unavailable."""
    if not SSHD:
        raise Unavailable("there is no sshd: install openssh-server (make system-deps)")
    with hosts(folder) as made:
        say(f"hosts: {', '.join(host.name for host in made)}")
        deployment = Deployment(folder, made)
        deployment.use_home()
        lab = Lab(folder, made, say, deployment, rounds=rounds)
        try:
            rows = [_row(lab, *ROWS[number]) for number in only]
            lab.traces.note(made)
            say("down")
            _all_on(made)
            deployment.down()
            left = leavings.left_of(deployment, lab.traces)
        finally:
            _all_on(made)
            deployment.operator.end_all()
    left |= leavings.left_of_hosts(made)
    whole = not any(left.values()) and all("error" not in row.found for row in rows)
    return made, [*rows, Row(leavings.TITLE, leavings.lines_of(left), leavings.found_of(left))], whole


def _all_on(made: Sequence[Host]) -> None:
    """What is leased can be released from hosts that answer only."""
    for host in made:
        host.be_on()


def _row(lab: Lab, title: str, find: Callable[[Lab], Row]) -> Row:
    """One that fails, for whatever reason, is shown so, and the next has its turn."""
    lab.say(title)
    try:
        row = find(lab)
        lab.say("\n".join(["found", *row.lines]))
        return row
    except Exception as error:
        lab.say(f"  did not come about:\n{traceback.format_exc()}")
        return Row(title, [f"It did not come about: {error!r}"], {"error": repr(error)})


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", type=int, choices=tuple(ROWS), action="append", help="a row; all of them otherwise")
    options.add_argument("--rounds", type=int, default=1, help="how often each harm of row 4 is done")
    options.add_argument("--json", action="store_true", help="print the figures as JSON, too")
    asked = options.parse_args()
    asked.only = asked.only or list(ROWS)
    return asked


if __name__ == "__main__":
    main()
