"""What a login shell is given for a command."""

import os
import shlex
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioners.ssh.command import STARTED, SshCommand

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


def run(command: SshCommand) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["/bin/sh", "-c", command.line], capture_output=True, check=False)


@settings(max_examples=40)
@given(value=TEXT, said=TEXT)
def test_any_text_in_environment_and_command_arrives_as_it_is(value, said):
    done = run(SshCommand(f'printf "%s\\0%s" "$VALUE" {shlex.quote(said)}', environment={"VALUE": value}))
    output = done.stdout.partition(b"\n")[2]
    assert output == f"{value}\0{said}".encode()


@settings(max_examples=20)
@given(name=TEXT.filter(lambda name: name.strip("./") and "/" not in name))
def test_a_command_starts_in_its_folder_whatever_it_is_called(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("f") / name[:20]
    folder.mkdir()
    (folder / "here").touch()
    assert run(SshCommand("ls", folder=str(folder))).stdout.endswith(b"\nhere\n")


def test_its_first_words_are_its_process_and_without_them_it_did_not_start(tmp_path):
    done = run(SshCommand("echo $PPID"))
    first, parent = done.stdout.split(b"\n")[:2]
    assert first == STARTED + parent
    absent = run(SshCommand("echo ran", folder=str(tmp_path / "absent")))
    assert (absent.stdout, absent.returncode != 0) == (b"", True)


def test_a_command_that_a_signal_ended_has_the_code_of_shells():
    assert run(SshCommand("kill -KILL $$")).returncode == 128 + 9


def test_sudo_never_asks():
    assert SshCommand("true", sudo=True).line.startswith("exec sudo -n -- /bin/sh -c ")
    assert os.linesep not in SshCommand("true").line
