"""Instances as they shall be, by name: what JSON cases and tests of the bootstrap are about."""

import io
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from provisioners.hosts.cards import Gpus
from provisioners.hosts.wanted import Download, Environment, HostSpec, Model, Upload
from thunderctl.hosts.payload import host_scripts

TLS = {"ca.crt": b"ca", "tls.crt": b"crt", "tls.key": b"key"}
LOCKED = {"lock": b"vllm==0.32.0\n", "vllm": "0.32.0", "uv": lambda: Path("/here/uv"), "disk_gb": 15.0}


async def no_job() -> bytes:
    return b""


AGENT = """
import json, os, sys, time
from pathlib import Path
import psutil
if json.loads(Path("agent.json").read_text()).get("broken"):
    sys.exit("this agent is broken")
time.sleep(0.3)
record = {"pid": os.getpid(), "started_at": psutil.Process().create_time(), "host": "127.0.0.1", "port": 4001}
Path("run/new").write_text(json.dumps(record))
Path("run/new").rename("run/agent.pid.json")
time.sleep(60)
"""
"""Stands in for ours: it says where it listens, and does nothing else."""
DOWNLOADED = Model(key="KEY", source=Download(no_job), disk_gb=61.0)
AT_PATH = Model("/models/tiny", sizes="SIZES")


def host_spec(**changes) -> HostSpec:
    """A rented host with four A6000s and a model of the hub, but for `changes`."""
    values = {
        "name": "lease-1",
        "folder": "/srv/thunder/machine",
        "environment": Environment(**LOCKED),
        "payload": b"archive",
        "payload_digest": "PAYLOAD",
        "agent_config": b"{}",
        "tls": TLS,
        "scripts": host_scripts(),
        "model": DOWNLOADED,
        "gpus": Gpus("A6000", 4, 47.4),
        "port": 8443,
    }
    return HostSpec(**values | changes)


def host_spec_named(world: str, folder: Path) -> HostSpec:
    """The spec that a JSON case names; `folder` takes the files that some of them have."""
    match world:
        case "rented":
            return host_spec()
        case "ec2":
            return host_spec(gpus=Gpus("L4", 4, 22.3), supervised_by_systemd=True)
        case "image":
            return host_spec(environment=Environment("/usr/bin/python3", **LOCKED))
        case "adapted":
            adapter = folder / "adapter_config.json"
            adapter.write_text("{}")
            return host_spec(files={"chat-template.jinja": b"{{ x }}", "lora/adapter_config.json": adapter})
        case "uploading":
            for name, text in {"config.json": "{}", "model.safetensors": "12345", "tokenizer.json": "{}"}.items():
                (folder / name).write_text(text)
            model = Model("/models/tiny", sizes="SIZES", key="KEY", source=Upload(folder))
            return host_spec(model=model)
        case "own" | "no_model":
            given = Environment("/engine/bin/python", vllm="0.32")
            return host_spec(
                environment=given, gpus=Gpus("CPU", 1), port=0, model=AT_PATH if world == "own" else Model()
            )
    raise ValueError(f"No world is called {world!r}.")


def engine_python_in(folder: Path) -> str:
    """An interpreter that has psutil, and seems to have vLLM."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(sysconfig.get_paths()["purelib"])
    (packages / "vllm-0.32.0.dist-info").mkdir()
    (packages / "vllm-0.32.0.dist-info" / "METADATA").write_text("Name: vllm\nVersion: 0.32.0\n")
    return str(folder / "bin" / "python")


def with_stand_ins(folder: str, engine_python: str, model: Path) -> HostSpec:
    """An instance of this host with a stand-in for our agent, and a model of one file."""
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    return host_spec(
        folder=folder,
        environment=Environment(engine_python, vllm="0.32"),
        payload=archive_of(AGENT),
        model=Model(str(model)),
        gpus=Gpus("CPU", 1),
        port=0,
    )


def archive_of(agent: str) -> bytes:
    """A payload whose agent is this program."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in {"runtime/__init__.py": "", "runtime/agent/__main__.py": agent}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return archive.getvalue()
