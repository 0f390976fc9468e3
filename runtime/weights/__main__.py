"""`python -P -m runtime.weights FOLDER PROGRESS <job`: fill a folder with a model's files, unless it is there.

The job comes on standard input, so that signed addresses and tokens are on no disk. The folder gets its name when all
is there; one process a host fills it, and others wait for that.
"""

import fcntl
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from planner.errors import HostError, ThunderError
from runtime.weights.fetch import Fetch
from runtime.weights.job import Job
from runtime.weights.progress import Progress

AT_A_TIME = 8


def main(arguments: Sequence[str], job: bytes) -> int:
    folder, progress = (Path(argument) for argument in arguments)
    try:
        fill(folder, progress, Job.from_bytes(job))
    except (ThunderError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def fill(folder: Path, progress: Path, job: Job) -> None:
    """Have all files of the job in `folder`. Raises HostError, and OSError for a disk that takes no more."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress.write_text("another instance of this host fetches it\n")
    with _only_one(folder):
        if not folder.is_dir():
            draft = folder.with_name(f"{folder.name}.new")
            draft.mkdir(exist_ok=True)
            _fetch_all(job, draft, Progress(progress, job.size))
            _drop_others(draft, job)
            draft.rename(folder)
    progress.unlink(missing_ok=True)


def _fetch_all(job: Job, draft: Path, progress: Progress) -> None:
    """Several files at a time; the first that can't be had stops the others."""
    stop = threading.Event()
    fetch = Fetch(draft, progress, authorization=job.authorization, stop=stop)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        tasks = [pool.submit(fetch.file, file, url) for file, url in job.files]
        done, left = wait(tasks, return_when=FIRST_EXCEPTION)
        if left:
            stop.set()
            for task in left:
                task.cancel()
    failures = [error for task in done if (error := task.exception())]
    if failures:
        raise next((error for error in failures if isinstance(error, HostError)), failures[0])


def _drop_others(draft: Path, job: Job) -> None:
    """What an earlier job of this folder began and this one doesn't name."""
    named = {draft / file.name for file, _ in job.files}
    for path in [path for path in draft.rglob("*") if path.is_file() and path not in named]:
        path.unlink()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with folder.with_name(f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.buffer.read()))
