"""The key pair of ours that rented machines let in: `THUNDER_HOME/ssh/id_ed25519`, made when it is first needed."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from planner.errors import SpecError
from provisioners.ssh.login import SshKeys
from thunderctl.home import thunder_home
from thunderctl.secrets import write_private

COMMENT = "thunderctl"


@dataclass(frozen=True, slots=True)
class MachineKey:
    """`private` is a file (0600) that stays here; `public` is the line that a machine's authorized_keys gets."""

    private: Path
    public: str

    @property
    def keys(self) -> SshKeys:
        """Shown first; then the agent's and the user's own, which may be let in as well."""
        return SshKeys(first=self.private)


def machine_key() -> MachineKey:
    """The pair, the same one ever after: machines that run know no other. Raises SpecError for a file that is none."""
    path = thunder_home() / "ssh" / "id_ed25519"
    if not path.exists():
        _make(path)
    return MachineKey(path, _public(path))


def _make(path: Path) -> None:
    """Make the file whole, unless another process makes it first: then theirs counts."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    draft = path.with_name(f".id_ed25519.{uuid4()}")
    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_private(draft, private)
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _public(path: Path) -> str:
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(
            f"{path} can't be read as a private SSH key without a passphrase: {error}.",
            hint="Restore it: rented machines that run let no other key in. If none runs, remove the file.",
        ) from error
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{line.decode()} {COMMENT}"
