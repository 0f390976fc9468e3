"""The file of host keys: one line a host, whole or not at all."""

import subprocess
import sys

import pytest

from planner.errors import HostError
from provisioners.ssh.known_host import KnownHost


def test_a_key_is_pinned_at_the_first_contact_and_compared_ever_after(tmp_path):
    host = KnownHost(tmp_path / "known_hosts", "a")
    host.check("ssh-ed25519 AAAA")
    host.check("ssh-ed25519 AAAA")
    assert host.file.read_text() == "a ssh-ed25519 AAAA\n"
    with pytest.raises(HostError, match="has changed"):
        host.check("ssh-ed25519 BBBB")


def test_a_key_is_not_glued_to_a_line_without_an_end(tmp_path):
    """As a full disk, or an editor, leaves one."""
    file = tmp_path / "known_hosts"
    file.write_text("a ssh-ed25519 AA")
    KnownHost(file, "b").check("ssh-ed25519 BBBB")
    assert file.read_text() == "a ssh-ed25519 AA\nb ssh-ed25519 BBBB\n"
    assert KnownHost(file, "b").pinned == "ssh-ed25519 BBBB"


FULL = """
import resource, sys
from pathlib import Path
from provisioners.ssh.known_host import HostError, KnownHost

file = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 5, resource.RLIM_INFINITY))
try:
    KnownHost(file, "b").check("ssh-ed25519 BBBB")
except HostError as error:
    print(error.message)
"""


def test_a_full_disk_leaves_no_part_of_a_key(tmp_path):
    """Compared with a part, the host would be another one ever after."""
    file = tmp_path / "known_hosts"
    file.write_text("a ssh-ed25519 AAAA\n")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(file)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "can't be read or written" in done.stdout
    assert file.read_text() == "a ssh-ed25519 AAAA\n"
    KnownHost(file, "b").check("ssh-ed25519 BBBB")
    assert KnownHost(file, "b").pinned == "ssh-ed25519 BBBB"
