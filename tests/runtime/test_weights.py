"""A model's files over HTTP: cut off and gone on with, compared, and once for all instances of a host."""

import errno
import hashlib
import json
import ssl
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest

from planner.errors import HostError, SpecError
from runtime.weights.__main__ import fill
from runtime.weights.fetch import TRIES, Fetch
from runtime.weights.job import Job, WeightFile
from runtime.weights.progress import Progress, amount
from tests.file_server import file_server

MODEL = Path(__file__).parents[2] / "examples" / "tiny-llama"
WEIGHTS = "model.safetensors"


def listed(folder: Path, name: str) -> WeightFile:
    data = (folder / name).read_bytes()
    return WeightFile(name, len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")


def job_of(url: str, folder: Path = MODEL, **more: str) -> Job:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return Job(tuple((listed(folder, name), f"{url}/{name}") for name in names), **more)


@pytest.fixture
def fetch(tmp_path) -> Fetch:
    return Fetch(tmp_path, Progress(tmp_path / "progress", 1), pause=lambda _: None)


@pytest.fixture
def server():
    with file_server(MODEL) as made:
        yield made


def test_a_model_is_fetched_whole_and_gets_its_name_last(server, tmp_path):
    fill(tmp_path / "models" / "KEY", tmp_path / "progress", job_of(server.url))
    assert same(tmp_path / "models" / "KEY", MODEL)
    assert not (tmp_path / "models" / "KEY.new").exists()
    asked = len(server.asked)
    fill(tmp_path / "models" / "KEY", tmp_path / "progress", job_of(server.url))
    assert len(server.asked) == asked


def test_a_download_that_breaks_off_goes_on_where_it_was(server, fetch, tmp_path):
    size = (MODEL / WEIGHTS).stat().st_size
    server.cut_after = deque([1000, 500_000, 0])
    fetch.file(listed(MODEL, WEIGHTS), f"{server.url}/{WEIGHTS}")
    assert server.ranges_of(WEIGHTS) == ["", "bytes=1000-", "bytes=501000-", "bytes=501000-"]
    assert (tmp_path / WEIGHTS).stat().st_size == size
    assert listed(tmp_path, WEIGHTS) == listed(MODEL, WEIGHTS)


def test_a_process_that_was_killed_is_gone_on_with_by_the_next(server, fetch, tmp_path):
    (tmp_path / f"{WEIGHTS}.part").write_bytes((MODEL / WEIGHTS).read_bytes()[:123_456])
    fetch.file(listed(MODEL, WEIGHTS), f"{server.url}/{WEIGHTS}")
    assert server.ranges_of(WEIGHTS) == ["bytes=123456-"]
    assert listed(tmp_path, WEIGHTS) == listed(MODEL, WEIGHTS)


def test_a_part_that_is_whole_is_only_compared(server, fetch, tmp_path):
    (tmp_path / f"{WEIGHTS}.part").write_bytes((MODEL / WEIGHTS).read_bytes())
    fetch.file(listed(MODEL, WEIGHTS), f"{server.url}/{WEIGHTS}")
    assert server.asked == []


def test_a_server_without_ranges_is_asked_from_the_start(server, fetch, tmp_path):
    server.ranges, server.cut_after = False, deque([1000])
    fetch.file(listed(MODEL, WEIGHTS), f"{server.url}/{WEIGHTS}")
    assert listed(tmp_path, WEIGHTS) == listed(MODEL, WEIGHTS)


def test_a_part_with_other_bytes_is_thrown_away_and_fetched_anew(server, fetch, tmp_path):
    (tmp_path / f"{WEIGHTS}.part").write_bytes(b"x" * 5000)
    fetch.file(listed(MODEL, WEIGHTS), f"{server.url}/{WEIGHTS}")
    assert server.ranges_of(WEIGHTS) == ["bytes=5000-", ""]
    assert listed(tmp_path, WEIGHTS) == listed(MODEL, WEIGHTS)


def test_a_file_that_is_not_what_was_listed_is_never_given_its_name(server, fetch, tmp_path):
    wrong = WeightFile(WEIGHTS, (MODEL / WEIGHTS).stat().st_size, f"sha256:{'0' * 64}")
    with pytest.raises(HostError, match=r"sha256 digest .*; expected 0000.*not what was listed"):
        fetch.file(wrong, f"{server.url}/{WEIGHTS}")
    assert not (tmp_path / WEIGHTS).exists()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("begun", [0, 400_000])
def test_a_file_that_is_longer_than_listed_is_given_up_at_once(server, fetch, tmp_path, begun, ranges):
    server.ranges = ranges
    short = WeightFile(WEIGHTS, 500_000, f"sha256:{'0' * 64}")
    (tmp_path / f"{WEIGHTS}.part").write_bytes((MODEL / WEIGHTS).read_bytes()[:begun])
    with pytest.raises(HostError, match=r"has more than 500000 bytes: .*not what was listed"):
        fetch.file(short, f"{server.url}/{WEIGHTS}")
    assert len(server.asked) == 1
    assert (tmp_path / f"{WEIGHTS}.part").stat().st_size <= short.size


def test_a_body_that_never_ends_fills_no_disk(server, fetch, tmp_path):
    server.endless = True
    with pytest.raises(HostError, match="not what was listed"):
        fetch.file(listed(MODEL, WEIGHTS), f"{server.url}/{WEIGHTS}")
    assert not (tmp_path / WEIGHTS).exists()


def test_what_git_holds_is_known_by_its_hash(server, fetch, tmp_path):
    data = (MODEL / "config.json").read_bytes()
    name = hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
    fetch.file(WeightFile("config.json", len(data), f"git:{name}"), f"{server.url}/config.json")
    assert (tmp_path / "config.json").read_bytes() == data


def test_a_small_file_may_come_with_the_job(fetch, tmp_path):
    fetch.file(WeightFile("a.txt", 3, f"sha256:{hashlib.sha256(b'abc').hexdigest()}"), "data:;base64,YWJj")
    assert (tmp_path / "a.txt").read_bytes() == b"abc"


@pytest.mark.parametrize("status", [500, 429, 503])
def test_a_server_that_is_busy_is_asked_again(server, fetch, tmp_path, status):
    server.statuses = deque([status] * (TRIES - 1))
    fetch.file(listed(MODEL, "config.json"), f"{server.url}/config.json")
    assert same_file(tmp_path, "config.json")


def test_one_that_stays_busy_is_given_up(server, fetch):
    server.statuses = deque([503] * TRIES)
    with pytest.raises(HostError, match=f"broke off {TRIES} times in a row: HTTP 503"):
        fetch.file(listed(MODEL, "config.json"), f"{server.url}/config.json")


@pytest.mark.parametrize(
    "broken",
    [
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]"),
    ],
)
def test_a_line_that_breaks_under_a_download_is_no_full_disk(server, fetch, tmp_path, monkeypatch, broken):
    piece, failures = fetch._piece, deque([broken])

    def first_breaks(*words):
        if failures:
            raise failures.popleft()
        piece(*words)

    monkeypatch.setattr(fetch, "_piece", first_breaks)
    fetch.file(listed(MODEL, "config.json"), f"{server.url}/config.json")
    assert same_file(tmp_path, "config.json")


def test_a_full_disk_is_named_at_once(server, fetch, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_copy", full)
    with pytest.raises(HostError, match="can't be written: No space left"):
        fetch.file(listed(MODEL, "config.json"), f"{server.url}/config.json")
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "words"), [(403, "expired, or .*gated"), (404, "HTTP 404")])
def test_a_refusal_is_final_and_names_no_address(server, fetch, status, words):
    server.statuses = deque([status])
    with pytest.raises(HostError, match=words) as raised:
        fetch.file(listed(MODEL, "config.json"), f"{server.url}/config.json?signature=secret")
    assert "secret" not in raised.value.message
    assert len(server.asked) == 1


def test_a_token_goes_to_the_named_address_and_not_where_that_leads(server, tmp_path):
    with file_server(MODEL) as elsewhere:
        server.wanted_authorization = "Bearer token"
        server.redirected = {f"/{WEIGHTS}": f"{elsewhere.url}/{WEIGHTS}"}
        job = job_of(server.url, authorization="Bearer token")
        fill(tmp_path / "model", tmp_path / "progress", job)
        assert {authorization for *_, authorization in server.asked} == {"Bearer token"}
        assert [authorization for *_, authorization in elsewhere.asked] == [""]
    assert same(tmp_path / "model", MODEL)


@pytest.mark.parametrize("led_to", ["/api/cache/config.json", "{url}/api/cache/config.json"])
def test_a_token_goes_on_to_where_a_hub_leads_within_itself(server, tmp_path, led_to):
    server.wanted_authorization = "Bearer token"
    server.redirected = {"/config.json": led_to.format(url=server.url)}
    server.documents = {"/api/cache/config.json": (MODEL / "config.json").read_bytes()}
    fill(tmp_path / "model", tmp_path / "progress", job_of(server.url, authorization="Bearer token"))
    assert ("/api/cache/config.json", "Bearer token") in {(path, token) for _, path, _, token in server.asked}
    assert same(tmp_path / "model", MODEL)


def test_the_first_file_that_cant_be_had_stops_the_others(server, tmp_path):
    job = job_of(server.url)
    absent = WeightFile("absent.json", 1, f"sha256:{'0' * 64}")
    with pytest.raises(HostError, match=r"absent\.json can't be fetched: HTTP 404"):
        fill(tmp_path / "model", tmp_path / "progress", Job((*job.files, (absent, f"{server.url}/absent.json"))))
    assert not (tmp_path / "model").exists()


def test_two_instances_of_a_host_fetch_it_once(server, tmp_path):
    job = job_of(server.url)
    both = [
        threading.Thread(target=fill, args=(tmp_path / "model", tmp_path / f"progress{number}", job))
        for number in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(server.asked) == len(job.files)
    assert same(tmp_path / "model", MODEL)


def test_the_command_reads_its_job_from_standard_input_and_says_how_it_ended(server, tmp_path):
    command = [sys.executable, "-P", "-m", "runtime.weights", str(tmp_path / "model"), str(tmp_path / "progress")]
    done = subprocess.run(command, input=job_of(server.url).to_bytes(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert same(tmp_path / "model", MODEL)
    done = subprocess.run(command, input=b"{}", capture_output=True, check=False)
    assert done.returncode == 1
    assert b"What to fetch can't be read" in done.stderr


def test_progress_is_a_line_that_others_read(tmp_path):
    now = iter([0.0, 0.0, 0.5, 1.5, 1.5]).__next__
    progress = Progress(tmp_path / "progress", 61_000_000_000, now=now)
    progress.add(3_100_000_000)
    assert (tmp_path / "progress").read_text() == "3.1 of 61.0 GB\n"
    progress.add(1_000_000_000)
    assert (tmp_path / "progress").read_text() == "3.1 of 61.0 GB\n"
    progress.add(1_000_000_000)
    assert (tmp_path / "progress").read_text() == "5.1 of 61.0 GB\n"
    assert amount(1_500_000, 9_000_000) == "1.5 of 9.0 MB"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../b", "a\nb"])
def test_a_file_stays_below_the_models_folder(name):
    with pytest.raises(SpecError, match="expected a path below"):
        WeightFile(name, 1, "sha256:0")


def test_a_job_survives_its_way():
    job = Job(((WeightFile("a", 1, "sha256:0"), "https://x/a"),), "Bearer t")
    assert Job.from_bytes(job.to_bytes()) == job
    assert "url" in json.loads(job.to_bytes())["files"][0]


def same(one: Path, other: Path) -> bool:
    names = {path.name for path in other.iterdir() if path.is_file()}
    return {path.name for path in one.iterdir()} == names and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def same_file(folder: Path, name: str) -> bool:
    return (folder / name).read_bytes() == (MODEL / name).read_bytes()
