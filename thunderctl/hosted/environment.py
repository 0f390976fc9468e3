"""The Python environment of the control plane on a host of one's own, from the lock `requirements/hosted.txt`."""

import re
from functools import cache
from importlib.resources import files

from provisioners.hosts.digests import digest
from provisioners.rendering import rendered
from thunderctl.hosts.locks import PYTHON, lock_text

LOCK, UV, PROGRESS = "run/hosted.txt", "run/uv", "run/progress"
KEY_CHARACTERS = 16
IMPORTS = "import aiohttp, cvxpy, highspy, paramiko, sqlmodel, textual"
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+) \\$", re.MULTILINE)
"""Those that every platform gets; of the others a marker says which."""


@cache
def environment_key() -> str:
    return digest("\n".join((PYTHON, IMPORTS, lock_text("hosted.txt"))).encode())[:KEY_CHARACTERS]


@cache
def proof() -> str:
    """Python that fails where an interpreter lacks a package of the lock, or has another version of it."""
    pins = dict(PINNED.findall(lock_text("hosted.txt")))
    return f"import importlib.metadata as m\nfor n, v in {pins!r}.items(): assert m.version(n) == v, n"


def make_script(base: str) -> str:
    """What makes it, run in `base`, where the lock and perhaps a uv were put."""
    return rendered(
        files("templates").joinpath("make_environment.sh.j2").read_text(),
        made=made_folder(base),
        shared=f"{base}/shared",
        uv=UV,
        lock=LOCK,
        progress=PROGRESS,
        python=PYTHON,
        managed_python=False,
        arguments=(),
        proof=IMPORTS,
        unfit=1,
    )


def made_folder(base: str) -> str:
    return f"{base}/shared/engines/{environment_key()}"
